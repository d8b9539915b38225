"""What an attempt asks before each of its hops: does robots.txt let it, and is it time yet.

The host's pace, a Crawl-delay that was just read, and a redirect's `Retry-After` are all kept here, by sleeping where the wait
is short. What is too long for that ends the attempt, so that neither slot nor host is held for nothing.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from common.clock import Clock
from common.contracts.fetches import Budget, ErrorType, PerformFetch, ResponseHead, RobotsEvidence, RobotsVerdict
from common.urls import Target

from fetcher.egress.evidence import EvidenceLog
from fetcher.errors import AttemptSnoozed, ExchangeFailed
from fetcher.judge import read_retry_after
from fetcher.politeness.pace import Pace, sleep_until

WAIT_LIMIT_SECONDS = 5.0
"""The longest wait that an attempt sleeps after robots.txt or because of a redirect's Retry-After."""
QUOTE_LIMIT_CHARACTERS = 200


class Gate(Protocol):
    """Says whether a host's robots.txt lets a URL be fetched."""

    async def check(self, target: Target, *, log: EvidenceLog) -> RobotsEvidence:
        """The verdict and its reason. Raises ExchangeFailed when robots.txt could not be asked for at all.

        Sets `log.has_asked_robots` when the origin itself was asked just now.
        """

    def asked_again_at(self, target: Target) -> datetime | None:
        """When an unreachable robots.txt is asked for again, None when that is unknown."""


class Admission:
    """Of one attempt. `deadline` is that of its timeout, `ends_at` the last moment that its lease allows; both in loop time."""

    def __init__(
        self,
        command: PerformFetch,
        *,
        robots: Gate | None,
        pace: Pace,
        log: EvidenceLog,
        deadline: asyncio.Timeout,
        ends_at: float,
        clock: Clock,
    ) -> None:
        self._command = command
        self._robots = robots
        self._pace = pace
        self._log = log
        self._deadline = deadline
        self._ends_at = ends_at
        self._clock = clock
        self._redirect_opens_at = pace.now()
        self.is_postponed = False
        if robots is None:
            log.robots = RobotsEvidence(verdict=RobotsVerdict.IGNORED)

    async def admit(self, target: Target) -> None:
        """Return when the next hop may be made. Raises ExchangeFailed when it must not be, AttemptSnoozed when not yet."""
        self._pace.end()
        now = self._pace.now()
        await self._wait(max(self._pace.seconds_left(target.host), self._redirect_opens_at - now))
        if self._robots is not None:
            await self._ask(self._robots, target)
        self._pace.begin(target.host)

    def may_follow(self, head: ResponseHead) -> bool:
        """Whether a redirect is followed now. On one, Retry-After is the least wait before its hop (RFC 9110 section 10.2.3).

        When that is too long, the redirect is the response, and `is_postponed`: it may be followed by another attempt.
        """
        now = self._clock()
        not_before = read_retry_after(head.headers, now=now)
        if not_before is None:
            return True
        seconds = (not_before - now).total_seconds()
        self.is_postponed = seconds > WAIT_LIMIT_SECONDS or seconds >= self._seconds_of_lease()
        self._redirect_opens_at = self._pace.now() + seconds
        return not self.is_postponed

    async def _ask(self, robots: Gate, target: Target) -> None:
        self._log.has_asked_robots = False
        try:
            evidence = await robots.check(target, log=self._log)
            if self._log.has_asked_robots and target.host == self._pace.host:
                self._pace.slow_to(evidence.crawl_delay_seconds or 0.0)
        finally:
            if self._log.has_asked_robots:
                self._pace.exchanged(target.host)
        self._log.robots = evidence
        if not evidence.verdict.is_allowed:
            raise _refused_by_robots(evidence, again_at=robots.asked_again_at(target))
        if self._log.has_asked_robots:
            await self._wait_after_robots(self._pace.seconds_left(target.host))

    async def _wait_after_robots(self, seconds: float) -> None:
        """Before the first hop too long a wait is for the store to schedule.

        Not for a command without a train: who sent it knows of no snooze.
        """
        if self._log.hops:
            await self._wait(seconds)
        elif self._command.train is None:
            await self._wait(min(seconds, WAIT_LIMIT_SECONDS, self._command.request.timeout_seconds / 2))
        elif seconds > WAIT_LIMIT_SECONDS or seconds >= self._seconds_of_lease():
            raise AttemptSnoozed(self._clock() + timedelta(seconds=seconds))
        else:
            await self._wait(seconds)

    async def _wait(self, seconds: float) -> None:
        """Outside the timeout, which is about the host's time and not ours, but within the lease."""
        if seconds <= 0:
            return
        if seconds >= self._seconds_of_lease():
            detail = "The pace of the host leaves no time to follow its redirect."
            raise ExchangeFailed(ErrorType.TIMEOUT, detail, exceeded=Budget.TOTAL)
        if (ends_at := self._deadline.when()) is not None:
            self._deadline.reschedule(min(ends_at + seconds, self._ends_at))
        await sleep_until(self._pace.now() + seconds, now=self._pace.now)

    def _seconds_of_lease(self) -> float:
        return self._ends_at - asyncio.get_running_loop().time()


def _refused_by_robots(evidence: RobotsEvidence, *, again_at: datetime | None) -> ExchangeFailed:
    if evidence.verdict is RobotsVerdict.UNREACHABLE:
        answer = f"answered {evidence.status}" if evidence.status else "could not be read"
        detail = f"The host's robots.txt {answer}, so nothing may be fetched until it can be read."
        return ExchangeFailed(ErrorType.REFUSED_ROBOTS, detail, passes_at=again_at)
    line = (evidence.line or "")[:QUOTE_LIMIT_CHARACTERS]
    return ExchangeFailed(ErrorType.REFUSED_ROBOTS, f"The host's robots.txt disallows this URL: {line}")
