"""Take a batch of commands from Celery, start each attempt on the process's event loop, publish each outcome as it comes.

A Celery thread waits here for slots, never for attempts: that wait is the back-pressure, and it is why one slow fetch holds
up neither its batch nor the next. Decides nothing about retries; a command that is dropped is recovered by its lease.
"""

import asyncio
from datetime import timedelta

import structlog
from common.chassis.telemetry import Attributes, current_traceparent, span
from common.clock import Clock
from common.contracts.catalog import FETCH_ATTEMPTED, FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import ErrorType, FetchAttempted, FetchError, PerformFetch, PerformFetches
from common.streams.publisher import Publication
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from fetcher.egress.client import EgressClient
from fetcher.errors import CommandRejected, RejectionReason
from fetcher.judge import judge_failure
from fetcher.metrics import DropReason, FetcherMetrics
from fetcher.perform import Attempted, Gate, perform
from fetcher.report import Reporter
from fetcher.slots import Slots

log = structlog.get_logger()


class Tasks:
    """The work of this process: commands in, outcomes out. `take_batch` is for Celery threads, the rest for the loop."""

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
    ) -> None:
        self._loop = loop
        self._slots = slots
        self._client = client
        self._reporter = reporter
        self._metrics = metrics
        self._worker = worker
        self._clock = clock
        self._robots = robots
        self._running: set[asyncio.Task[None]] = set()

    def take_batch(self, message: str) -> None:
        """Start every command of one message as slots come free; return without waiting for any of them to end."""
        try:
            batch = read_batch(message)
        except CommandRejected as rejected:
            self._metrics.rejected(rejected.reason)
            log.error("command rejected", reason=rejected.reason, error=rejected.error_class)
            return
        for command in batch.fetches:
            self._take(command)

    async def finish(self, *, seconds: float) -> None:
        """Wait for running attempts and their publication, then cancel what is left; its leases recover it."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, seconds))
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=1.0)

    def _take(self, command: PerformFetch) -> None:
        left = (command.lease_ends_at - self._clock()) / timedelta(seconds=1)
        if not self._slots.take(timeout_seconds=left):
            has_ended = self._clock() >= command.lease_ends_at
            self._drop(command, reason=DropReason.LEASE_ENDED if has_ended else DropReason.STOPPING)
            return
        self._loop.call_soon_threadsafe(self._start, command)

    def _start(self, command: PerformFetch) -> None:
        task = self._loop.create_task(self._attempt(command))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: self._slots.give_back())

    async def _attempt(self, command: PerformFetch) -> None:
        if self._clock() >= command.lease_ends_at:  # asked here and not before: a process may stand still anywhere up to here
            self._drop(command, reason=DropReason.LEASE_ENDED)
            return
        attributes: Attributes = {"fetchwork.fetch_id": str(command.id), "fetchwork.dispatch_seq": command.dispatch_seq}
        with span("fetch.perform", kind=SpanKind.CONSUMER, traceparent=command.traceparent, attributes=attributes):
            try:
                await self._perform_and_report(command)
            except asyncio.CancelledError:
                self._drop(command, reason=DropReason.STOPPING)
                raise
            except Exception:
                log.exception("attempt not reported", fetch_id=str(command.id), dispatch_seq=command.dispatch_seq)

    async def _perform_and_report(self, command: PerformFetch) -> None:
        started_at = self._clock()
        attempted = await self._perform(command)
        finished = FetchAttempted(
            id=command.id,
            dispatch_seq=command.dispatch_seq,
            worker=self._worker,
            started_at=started_at,
            finished_at=self._clock(),
            outcome=attempted.outcome,
        )
        self._metrics.attempted(attempted.outcome)
        _log_attempt(finished, host=attempted.host, method=command.request.method)
        event = Envelope[FetchAttempted].wrap(
            finished,
            type=FETCH_ATTEMPTED,
            source=f"fetcher/{self._worker}",
            subject=str(command.id),
            now=finished.finished_at,
            traceparent=current_traceparent(),
        )
        await self._reporter.report(
            Publication(event=event, body=attempted.body), reference=attempted.outcome.body, until=command.lease_ends_at
        )

    async def _perform(self, command: PerformFetch) -> Attempted:
        try:
            return await perform(command, client=self._client, robots=self._robots, clock=self._clock)
        except Exception:
            log.exception("attempt broke", fetch_id=str(command.id), dispatch_seq=command.dispatch_seq)
            error = FetchError(type=ErrorType.INTERNAL, detail="The fetcher failed; this is not the host's fault.")
            return Attempted(outcome=judge_failure(error, is_idempotent=command.request.is_idempotent))

    def _drop(self, command: PerformFetch, *, reason: DropReason) -> None:
        self._metrics.dropped(reason)
        log.warning("command dropped", reason=reason, fetch_id=str(command.id), dispatch_seq=command.dispatch_seq)


def read_batch(message: object) -> PerformFetches:
    """The batch inside a message. Raises CommandRejected, which never quotes the message: it may hold credentials."""
    if not isinstance(message, str):
        raise CommandRejected(RejectionReason.UNDECODABLE, type(message).__name__)
    try:
        envelope = Envelope[PerformFetches].model_validate_json(message)
    except ValidationError as error:
        raise CommandRejected(RejectionReason.UNDECODABLE, type(error).__name__) from None
    if envelope.type != FETCH_PERFORM:
        raise CommandRejected(RejectionReason.UNKNOWN_TYPE, "UnknownType")
    return envelope.data


def _log_attempt(attempted: FetchAttempted, *, host: str | None, method: str) -> None:
    """The one canonical line of an attempt. The URL's path and query stay out of it; host and id are enough to find it."""
    outcome, evidence = attempted.outcome, attempted.outcome.evidence
    log.info(
        "attempt finished",
        fetch_id=str(attempted.id),
        dispatch_seq=attempted.dispatch_seq,
        host=host,
        method=method,
        outcome=outcome.kind,
        is_retryable=outcome.is_retryable,
        error=outcome.error.type if outcome.error else None,
        exceeded=evidence.exceeded,
        status=outcome.response.status if outcome.response else None,
        verdict=evidence.hops[-1].verdict if evidence.hops else None,
        robots=evidence.robots.verdict if evidence.robots else None,
        hops=len(evidence.hops),
        wire_bytes=evidence.wire_bytes,
        decoded_bytes=evidence.decoded_bytes,
        dns_seconds=round(evidence.dns_seconds, 6),
        connect_seconds=round(evidence.connect_seconds, 6),
        first_byte_seconds=round(evidence.first_byte_seconds, 6),
        body_seconds=round(evidence.body_seconds, 6),
        total_seconds=round(evidence.total_seconds, 6),
    )
