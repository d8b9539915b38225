"""Take a batch of commands from Celery, start each attempt on the process's event loop, publish each outcome as it comes.

A Celery thread waits here for slots, never for attempts: that wait is the back-pressure, and it is why one slow fetch holds
up neither its batch nor the next. The fetches of a train take one slot together. Decides nothing about retries; a command
that is dropped is recovered by its lease.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from time import monotonic
from uuid import UUID

import structlog
from common.clock import Clock
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import PerformFetch, PerformFetches
from pydantic import ValidationError

from fetcher.attempts import Attempts
from fetcher.egress.client import EgressClient
from fetcher.errors import CommandRejected, RejectionReason, TakeUnknown
from fetcher.large_bodies import LargeBodies
from fetcher.metrics import DropReason, FetcherMetrics, SnoozeReason
from fetcher.politeness.admission import Gate
from fetcher.politeness.slowdowns import Slowdowns
from fetcher.report import Reporter
from fetcher.slots import Slots
from fetcher.takes import Takes
from fetcher.train import Halt, TrainRun

TAKE_TIMEOUT_SECONDS = 15.0
"""How long the broker may take to say that a message is new; `Takes` gives up sooner."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Start:
    """What is to run on the loop, and what is to be done when it has ended."""

    work: Callable[[], Coroutine[None, None, None]]
    on_end: Callable[[], None]

    def ended(self, _: object) -> None:
        """For the task's callback."""
        self.on_end()


class Tasks:
    """The work of this process: commands in, outcomes out. `take_batch` and `reject` are for Celery, the rest for the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        slots: Slots,
        client: EgressClient,
        reporter: Reporter,
        metrics: FetcherMetrics,
        worker: str,
        clock: Clock,
        robots: Gate | None = None,
        slowdowns: Slowdowns | None = None,
        draining: asyncio.Event | None = None,
        takes: Takes | None = None,
        large_bodies: LargeBodies | None = None,
    ) -> None:
        self._loop = loop
        self._takes = takes
        self._slots = slots
        self._metrics = metrics
        self._clock = clock
        self._draining = draining or asyncio.Event()
        self._slowdowns = Slowdowns(clock=clock, metrics=metrics) if slowdowns is None else slowdowns
        self._attempts = Attempts(
            client=client,
            reporter=reporter,
            metrics=metrics,
            slowdowns=self._slowdowns,
            worker=worker,
            clock=clock,
            robots=robots,
            large_bodies=large_bodies or metrics.large_bodies,
        )
        self._running: set[asyncio.Task[None]] = set()

    def take_batch(self, message: str) -> None:
        """Start every command of one message as slots come free; return without waiting for any of them to end."""
        try:
            envelope = read_batch(message)
        except CommandRejected as rejected:
            self.reject(rejected.reason, rejected.error_class)
            return
        self._metrics.received.inc(len(envelope.data.fetches))
        if (reason := self._reason_to_leave(envelope)) is not None:
            for command in envelope.data.fetches:
                self._attempts.drop(command, reason=reason)
            return
        starts: list[_Start] = []
        for train_id, commands in groupby(envelope.data.fetches, key=_train_id):
            if train_id is None:
                for command in commands:
                    self._take(command, starts, sent_at=envelope.time)
            else:
                self._take_train(tuple(commands), starts, sent_at=envelope.time)
        self._start(starts)

    def reject(self, reason: RejectionReason, error_class: str) -> None:
        """Count a message that is no command; what it may have held is recovered by its lease."""
        self._metrics.rejected(reason)
        log.error("command rejected", reason=reason, error=error_class)

    async def finish(self, *, seconds: float) -> None:
        """Wait for running attempts and their publication, then cancel what is left; its leases recover it."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, seconds))
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=1.0)

    def _reason_to_leave(self, envelope: Envelope[PerformFetches]) -> DropReason | None:
        """Why none of it is run: its message came before, or nobody can tell. Without `takes` each is the first."""
        if self._takes is None:
            return None
        seconds = max(map(self._attempts.seconds_of_lease, envelope.data.fetches), default=0.0)
        asking = asyncio.run_coroutine_threadsafe(self._takes.is_first(envelope.id, lease_seconds=seconds), self._loop)
        try:
            is_first = asking.result(TAKE_TIMEOUT_SECONDS)
        except (TakeUnknown, TimeoutError) as error:
            asking.cancel()
            log.warning("take not confirmed", error=str(error) or type(error).__name__)
            return DropReason.UNCONFIRMED
        return None if is_first else DropReason.REPEATED

    def _take(self, command: PerformFetch, starts: list[_Start], *, sent_at: datetime) -> None:
        if not self._take_slot(self._attempts.seconds_of_lease(command), starts):
            is_void = self._attempts.is_void(command)
            self._attempts.drop(command, reason=DropReason.LEASE_ENDED if is_void else DropReason.STOPPING)
            return
        starts.append(_Start(partial(self._attempt, command, sent_at), on_end=self._slots.give_back))

    def _take_train(self, cars: tuple[PerformFetch, ...], starts: list[_Start], *, sent_at: datetime) -> None:
        """Start a train when its one slot is free. Without one it still gives back all whose leases have not ended."""
        run = TrainRun(
            cars,
            attempts=self._attempts,
            slowdowns=self._slowdowns,
            draining=self._draining,
            on_start=partial(self._note_start, sent_at),
        )
        seconds = max(map(self._attempts.seconds_of_lease, cars))
        if self._take_slot(seconds, starts, unless=self._draining.is_set):
            starts.append(_Start(run.run, on_end=self._slots.give_back))
        else:
            starts.append(_Start(partial(run.run, Halt(reason=SnoozeReason.STOPPING)), on_end=lambda: None))

    def _take_slot(
        self, timeout_seconds: float, starts: list[_Start], *, unless: Callable[[], bool] = lambda: False
    ) -> bool:
        """Take a slot. Before it is waited for, those start that have theirs."""
        began = monotonic()
        is_taken = self._slots.take(timeout_seconds=0)
        if not is_taken:
            self._start(starts)
            is_taken = self._slots.take(timeout_seconds=timeout_seconds, unless=unless)
        self._metrics.slot_wait.observe(monotonic() - began)
        return is_taken

    def _note_start(self, sent_at: datetime) -> None:
        self._metrics.waited_for_start((self._clock() - sent_at).total_seconds())

    def _start(self, starts: list[_Start]) -> None:
        """Hand them to the loop at once: each call from another thread wakes it, and both threads want the interpreter then."""
        if starts:
            self._loop.call_soon_threadsafe(self._run_all, tuple(starts))
            starts.clear()

    def _run_all(self, starts: Iterable[_Start]) -> None:
        for start in starts:
            task = self._loop.create_task(start.work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            task.add_done_callback(start.ended)

    async def _attempt(self, command: PerformFetch, sent_at: datetime) -> None:
        if self._attempts.is_void(command):  # asked here and not before: a process may stand still anywhere up to here
            self._attempts.drop(command, reason=DropReason.LEASE_ENDED)
            return
        self._note_start(sent_at)
        try:
            await self._attempts.report(await self._attempts.perform(command))
        except asyncio.CancelledError:
            self._attempts.drop(command, reason=DropReason.STOPPING)
            raise


def _train_id(command: PerformFetch) -> UUID | None:
    return command.train.id if command.train is not None else None


def read_batch(message: object) -> Envelope[PerformFetches]:
    """The batch that a message is, and when it was sent.

    Raises CommandRejected, which never quotes the message: it may hold credentials.
    """
    if not isinstance(message, str):
        raise CommandRejected(RejectionReason.UNDECODABLE, type(message).__name__)
    try:
        envelope = Envelope[PerformFetches].model_validate_json(message)
    except ValidationError as error:
        raise CommandRejected(RejectionReason.UNDECODABLE, type(error).__name__) from None
    if envelope.type != FETCH_PERFORM:
        raise CommandRejected(RejectionReason.UNKNOWN_TYPE, "UnknownType")
    return envelope
