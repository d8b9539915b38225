"""One train: the next few fetches of one host, one after another, each as far behind the last as the host's pace asks.

The cars that cannot go on are given back to the store (snoozed), all that are left at once and in order. The last car's
outcome is always published last: with it the store takes the host's lane back.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from common.chassis.lifecycle import rest_unless
from common.contracts.fetches import Budget, ErrorType, Outcome, OutcomeKind, PerformFetch, Train

from fetcher.attempts import Attempts, Finished
from fetcher.cohorts import fall_in
from fetcher.metrics import DropReason, SnoozeReason
from fetcher.politeness.pace import TICK_SECONDS, Pace
from fetcher.politeness.slowdowns import SLOWDOWN_STATUSES, Slowdowns, host_of

LEASE_MARGIN_SECONDS = 1.0
"""A car starts with this much more of its lease left than its timeout, to publish what comes of it."""

_DEAD = frozenset({ErrorType.DNS, ErrorType.CONNECT, ErrorType.TLS})


@dataclass(frozen=True, slots=True)
class _Reporting:
    car: PerformFetch
    end: asyncio.Future[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why the train goes no further, and until when the host asked to be left alone, if it did."""

    reason: SnoozeReason
    not_before: datetime | None = None


class TrainRun:
    """The run of one train; `on_start` is told that its first attempt starts.

    Cancel `run()` to end it anywhere: its last cars are dropped, and their leases recover them.
    """

    def __init__(
        self,
        cars: Sequence[PerformFetch],
        *,
        attempts: Attempts,
        slowdowns: Slowdowns,
        draining: asyncio.Event,
        on_start: Callable[[], None] = lambda: None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._cars = cars
        self._train = cars[0].train or Train(id=cars[0].id, seconds=0)
        self._attempts = attempts
        self._slowdowns = slowdowns
        self._draining = draining
        self._on_start = on_start
        self._now = now
        self._host = host_of(cars[0].request.url)
        self._pace = Pace(self._host, delay_seconds=self._train.delay_seconds, now=now)
        self._answered_by: str | None = None
        self._started_at: float | None = None
        self._reporting: _Reporting | None = None

    async def run(self, halt: Halt | None = None) -> None:
        """Attempt car after car until something halts the train, and publish an outcome for each; `halt` may do so at once.

        A car whose lease has ended is dropped instead.
        """
        left = list(self._cars)
        try:
            while left:
                car = left[0]
                halt = halt or await self._wait_for_turn(car)
                if self._attempts.is_void(car):
                    self._attempts.drop(left.pop(0), reason=DropReason.LEASE_ENDED)
                    continue
                if halt is None:
                    finished = await self._attempt(car)
                    halt = self._halt_after(finished.outcome)
                else:
                    finished = self._attempts.snooze(car, halt.reason, not_before=halt.not_before)
                await self._report(car, finished)
                del finished  # or its body would stay here, without a place, while the next car waits for its turn
                left.pop(0)
                await fall_in()
            await self._reported()
        except asyncio.CancelledError:
            self._drop_all(left)
            raise

    async def _attempt(self, car: PerformFetch) -> Finished:
        if self._started_at is None:
            self._started_at = self._now()
            self._on_start()
        return await self._attempts.perform(car, pace=self._pace)

    async def _wait_for_turn(self, car: PerformFetch) -> Halt | None:
        """Wait until the host's pace lets this car start; at once why it must not, when that is known or comes to be known."""
        while True:
            halt = self._halt_before(car)
            seconds = self._pace.opens_at - self._now()
            if halt is not None or seconds <= 0:
                return halt
            await rest_unless(self._draining, max(seconds, TICK_SECONDS))

    def _halt_before(self, car: PerformFetch) -> Halt | None:
        """Why this car must not start, when its turn comes."""
        if self._draining.is_set():
            return Halt(reason=SnoozeReason.STOPPING)
        until = self._slowdowns.until(self._host)
        if until is not None:
            return Halt(reason=SnoozeReason.SLOWDOWN, not_before=until)
        if self._slowdowns.until(self._answered_by) is not None:  # where the next car is likely to be redirected too
            return Halt(reason=SnoozeReason.SLOWDOWN)
        if self._started_at is None:  # the first car: all that follows is about those behind it
            return None
        starts_at = max(self._now(), self._pace.opens_at)
        if starts_at - self._started_at > self._train.seconds:
            return Halt(reason=SnoozeReason.TRAIN_OVER)
        lease_seconds = self._attempts.seconds_of_lease(car) - (starts_at - self._now())
        if lease_seconds < car.request.timeout_seconds + LEASE_MARGIN_SECONDS:
            return Halt(reason=SnoozeReason.LEASE_SHORT)
        return None

    def _halt_after(self, outcome: Outcome) -> Halt | None:
        """Why no car goes behind one with this outcome."""
        if outcome.kind is OutcomeKind.SNOOZED:
            return Halt(reason=SnoozeReason.CRAWL_DELAY, not_before=outcome.not_before)
        head = outcome.response or outcome.evidence.received
        self._answered_by = host_of(head.final_url) if head is not None else None
        if outcome.not_before is not None or (head is not None and head.status in SLOWDOWN_STATUSES):
            own = outcome.not_before if _answering_host(outcome) == self._host else None
            return Halt(reason=SnoozeReason.SLOWDOWN, not_before=own or self._slowdowns.until(self._host))
        return Halt(reason=SnoozeReason.DEAD_HOST) if self._is_dead(outcome) else None

    def _is_dead(self, outcome: Outcome) -> bool:
        """Whether no connection to the train's host could be made: the next car would meet the same."""
        hops, error = outcome.evidence.hops, outcome.error
        if error is None or (hops and host_of(hops[-1].url) != self._host):
            return False
        return error.type in _DEAD or (error.type is ErrorType.TIMEOUT and outcome.evidence.exceeded is Budget.CONNECT)

    async def _report(self, car: PerformFetch, finished: Finished) -> None:
        """Begin to publish as soon as the outcome before is published: in order, and the next car need not wait for it."""
        await self._reported()
        self._reporting = _Reporting(car, self._attempts.report(finished))

    async def _reported(self) -> None:
        if self._reporting is not None:
            await self._reporting.end
            self._reporting = None

    def _drop_all(self, left: Sequence[PerformFetch]) -> None:
        reporting = self._reporting
        if reporting is not None and (reporting.end.cancel() or reporting.end.cancelled()):
            self._attempts.drop(reporting.car, reason=DropReason.STOPPING)
        for car in left:
            self._attempts.drop(car, reason=DropReason.STOPPING)


def _answering_host(outcome: Outcome) -> str | None:
    """The host whose answer it was, of a page or of robots.txt."""
    robots, head = outcome.evidence.robots, outcome.response
    if head is not None:
        return host_of(head.final_url)
    return host_of(robots.url) if robots is not None and robots.url is not None else None
