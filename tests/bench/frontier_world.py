"""The world of the frontier simulator: hosts that answer as a seed says, and workers that make trains as the contract says.

Time is in whole microseconds, so that no rounding makes a gap a little shorter than the pace.
"""

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from uuid import UUID

from common.contracts.fetches import (
    ErrorType,
    Evidence,
    FetchAttempted,
    FetchError,
    Outcome,
    OutcomeKind,
    PerformFetch,
    ResponseHead,
    RobotsEvidence,
    RobotsVerdict,
)
from store.dispatch.claim import Claimed
from store.hosts.changes import host_of

SECOND = 1_000_000
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
SEND_MICROSECONDS = 5_000
"""From the claim to the worker, and from the end of an attempt to the store."""
USUAL_RESPONSE_SECONDS = 0.15
CRAWL_DELAYS_MS = (250, 500, 1000, 2000)


def at(microseconds: int) -> datetime:
    """A simulated moment as the store sees it."""
    return BEGINNING + timedelta(microseconds=microseconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The shares of hosts that ask for a delay, that cannot be reached, and that say 429 now and then, and how often these do."""

    with_delay: float = 0.1
    dead: float = 0.01
    refusing: float = 0.02
    refusals: float = 0.05
    response_seconds: float = USUAL_RESPONSE_SECONDS
    spread: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one host is: its Crawl-delay, its usual response time, how often it says 429, whether it can be reached at all."""

    crawl_delay_ms: int
    response_seconds: float
    refusals: float
    is_dead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One attempt that was made, as the simulator itself saw it. `dispatched` is when the claim gave it out."""

    fetch_id: UUID
    host: str
    priority: int
    dispatched: int
    started: int
    ended: int


class World:
    """All hosts. The same seed makes the same hosts, and the same answers in the same order of questions."""

    def __init__(self, seed: int, *, habits: Habits, spared: Collection[str] = ()) -> None:
        self._seed = seed
        self._habits = habits
        self._spared = spared
        self._hosts: dict[str, tuple[Behaviour, Random]] = {}

    def behaviour(self, host: str) -> Behaviour:
        """How a host is. Those that are spared can be reached and never say 429."""
        return self._host(host)[0]

    def answer(self, command: PerformFetch, started: int) -> tuple[int, Outcome]:
        """When an attempt that starts then ends, and what it comes to."""
        host = host_of(command.request.url)
        behaviour, draw = self._host(host)
        took = max(1000, int(draw.lognormvariate(0, 0.3) * behaviour.response_seconds * SECOND))
        ended = started + took
        if behaviour.is_dead:
            error = FetchError(type=ErrorType.CONNECT, detail="The host cannot be reached.")
            return ended, Outcome(kind=OutcomeKind.FAILED, is_retryable=True, error=error)
        delay = behaviour.crawl_delay_ms / 1000 or None
        robots = RobotsEvidence(verdict=RobotsVerdict.ALLOWED, url=f"http://{host}/robots.txt", crawl_delay_seconds=delay)
        is_refused = draw.random() < behaviour.refusals
        return ended, Outcome(
            kind=OutcomeKind.FETCHED,
            is_retryable=is_refused,
            not_before=at(ended + draw.randint(1, 4) * SECOND) if is_refused else None,
            response=ResponseHead(status=429 if is_refused else 200, final_url=command.request.url),
            evidence=Evidence(robots=robots),
        )

    def _host(self, host: str) -> tuple[Behaviour, Random]:
        known = self._hosts.get(host)
        if known is None:
            known = self._hosts[host] = self._make(host)
        return known

    def _make(self, host: str) -> tuple[Behaviour, Random]:
        habits, draw = self._habits, Random(f"{self._seed}/{host}")
        response_seconds = habits.response_seconds * draw.lognormvariate(0, habits.spread)
        is_spared = host in self._spared
        kind = draw.random()
        is_dead, kind = kind < habits.dead and not is_spared, kind - habits.dead
        is_refusing, kind = 0 <= kind < habits.refusing and not is_spared, kind - habits.refusing
        has_delay = 0 <= kind < habits.with_delay
        behaviour = Behaviour(
            crawl_delay_ms=draw.choice(CRAWL_DELAYS_MS) if has_delay else 0,
            response_seconds=response_seconds,
            refusals=habits.refusals if is_refusing else 0.0,
            is_dead=is_dead,
        )
        return behaviour, draw


class Workers:
    """Slots that take trains in the order of their arrival. `keeps_delays=False` is a broken worker, for a test of the tests."""

    def __init__(self, world: World, *, slots: int, keeps_delays: bool = True) -> None:
        self._world = world
        self._free_at = [0] * slots
        self._keeps_delays = keeps_delays
        self._reports: list[tuple[int, int, FetchAttempted]] = []
        self._numbers = count()
        self.made: list[Made] = []

    def take(self, train: Sequence[Claimed], now: int) -> None:
        """Have the next free slot make a train. All that will come of it is known at once."""
        started = max(heapq.heappop(self._free_at), now + SEND_MICROSECONDS)
        ended = self._make([claimed.command for claimed in train], dispatched=now, started=started)
        heapq.heappush(self._free_at, ended)

    def reports(self, until: int) -> list[FetchAttempted]:
        """What has reached the store by then, in the order of arrival."""
        arrived = []
        while self._reports and self._reports[0][0] <= until:
            arrived.append(heapq.heappop(self._reports)[2])
        return arrived

    def next_report(self) -> int | None:
        """When the next report arrives; None while nothing is out."""
        return self._reports[0][0] if self._reports else None

    def _make(self, commands: Sequence[PerformFetch], *, dispatched: int, started: int) -> int:
        """One after another, `delay_seconds` from end to start; what would start too late is given back. Returns the end."""
        train, now = commands[0].train, started
        assert train is not None and train.id == commands[-1].id
        delay = round(train.delay_seconds * SECOND) if self._keeps_delays else 0
        for number, command in enumerate(commands):
            assert at(now) < command.lease_ends_at, "a lease ended before its turn: the workers are too few for this world"
            begins = now + delay if number else now
            if begins - started > train.seconds * SECOND:
                return self._give_back(commands[number:], now)
            ended, outcome = self._world.answer(command, begins)
            self._report(command, begins, ended, outcome)
            made = Made(
                fetch_id=command.id,
                host=host_of(command.request.url),
                priority=command.request.priority,
                dispatched=dispatched,
                started=begins,
                ended=ended,
            )
            self.made.append(made)
            now = ended
            if outcome.not_before is not None:
                return self._give_back(commands[number + 1 :], now)
        return now

    def _give_back(self, commands: Sequence[PerformFetch], now: int) -> int:
        for command in commands:
            self._report(command, now, now, Outcome(kind=OutcomeKind.SNOOZED))
        return now

    def _report(self, command: PerformFetch, started: int, ended: int, outcome: Outcome) -> None:
        attempted = FetchAttempted(
            id=command.id,
            dispatch_seq=command.dispatch_seq,
            worker="simulated",
            started_at=at(started),
            finished_at=at(ended),
            outcome=outcome,
        )
        heapq.heappush(self._reports, (ended + SEND_MICROSECONDS, next(self._numbers), attempted))
