"""One command in, one outcome out: perform it, count and log what came of it, publish that.

Decides nothing about order or time: `tasks` and `train` do. Never raises for what one attempt does.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from common.chassis.telemetry import Attributes, current_traceparent, fail, is_exporting, message_attributes, span, step
from common.clock import Clock
from common.contracts.catalog import FETCH_ATTEMPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import (
    BodyReference,
    ErrorType,
    FetchAttempted,
    FetchError,
    Outcome,
    OutcomeKind,
    PerformFetch,
)
from common.streams.names import ATTEMPTED_STREAM, COMMAND_QUEUE
from common.streams.publisher import Publication
from opentelemetry.trace import Span, SpanKind

from fetcher.egress.client import EgressClient
from fetcher.judge import judge_failure
from fetcher.large_bodies import LargeBodies, Place
from fetcher.metrics import DropReason, FetcherMetrics, SnoozeReason
from fetcher.perform import Attempted, perform
from fetcher.politeness.admission import Gate
from fetcher.politeness.pace import Pace
from fetcher.politeness.slowdowns import Slowdowns, host_of
from fetcher.report import Reporter

ATTEMPTED = Envelope[FetchAttempted]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An outcome that waits to be published, inside the lease of its command."""

    outcome: Outcome
    publication: Publication
    reference: BodyReference | None
    until: datetime
    place: Place


class Attempts:
    """What `tasks` and `train` do with one command. Lives on the loop; any number may run at once."""

    def __init__(
        self,
        *,
        client: EgressClient,
        reporter: Reporter,
        metrics: FetcherMetrics,
        slowdowns: Slowdowns,
        worker: str,
        clock: Clock,
        robots: Gate | None = None,
        large_bodies: LargeBodies,
    ) -> None:
        self._large_bodies = large_bodies
        self._client = client
        self._reporter = reporter
        self._metrics = metrics
        self._slowdowns = slowdowns
        self._worker = worker
        self._source = f"fetcher/{worker}"
        self._clock = clock
        self._robots = robots

    async def perform(self, command: PerformFetch, *, pace: Pace | None = None) -> Finished:
        """Make the attempt. What its host asks for is known to `slowdowns` before this returns."""
        place = self._large_bodies.place()  # goes along with what is finished; given back here only when nothing is
        try:
            with _span_of(command) as current:
                started_at = self._clock()
                attempted = await self._perform(command, pace=pace, place=place)
                _tell(current, attempted.outcome)
                self._slowdowns.learn(attempted.outcome)
                if attempted.outcome.kind is OutcomeKind.SNOOZED:
                    return self._give_back(command, attempted, SnoozeReason.CRAWL_DELAY, place=place, started_at=started_at)
                finished = self._finished(command, attempted, place=place, started_at=started_at)
                self._metrics.attempted(attempted.outcome)
                _log_attempt(finished, host=attempted.host, method=command.request.method)
                return finished
        except BaseException:
            place.give_back()
            raise

    def snooze(self, command: PerformFetch, reason: SnoozeReason, *, not_before: datetime | None = None) -> Finished:
        """Give the command back unattempted. `not_before` is until when its host asked to be left alone, if it did."""
        with _span_of(command) as current:
            outcome = Outcome(kind=OutcomeKind.SNOOZED, not_before=not_before)
            _tell(current, outcome)
            attempted = Attempted(outcome=outcome, finished_at=self._clock(), host=host_of(command.request.url))
            return self._give_back(command, attempted, reason, place=self._large_bodies.place(), started_at=None)

    def report(self, finished: Finished) -> asyncio.Future[bool]:
        """Begin to publish the outcome. The future is done when it is published, or given up because its lease has ended.

        The future never fails.
        """
        reporting: asyncio.Future[bool]
        if is_exporting():
            reporting = asyncio.ensure_future(self._report_traced(finished))
        else:
            reporting = self._reporter.report(finished.publication, reference=finished.reference, until=finished.until)
        reporting.add_done_callback(finished.place.on_done)
        return reporting

    async def _report_traced(self, finished: Finished) -> bool:
        with _report_of(finished.publication) as publication:
            return await self._reporter.report(publication, reference=finished.reference, until=finished.until)

    def is_void(self, command: PerformFetch) -> bool:
        """Whether its lease has ended: another worker may have the fetch, and this one must drop it."""
        return self._clock() >= command.lease_ends_at

    def seconds_of_lease(self, command: PerformFetch) -> float:
        """How much of the lease is left; negative when it has ended."""
        return (command.lease_ends_at - self._clock()).total_seconds()

    def drop(self, command: PerformFetch, *, reason: DropReason) -> None:
        """End a command without an outcome; its lease recovers it."""
        self._metrics.dropped(reason)
        log.warning("command dropped", reason=reason, fetch_id=str(command.id), dispatch_seq=command.dispatch_seq)

    async def _perform(self, command: PerformFetch, *, pace: Pace | None, place: Place) -> Attempted:
        try:
            return await perform(
                command, client=self._client, robots=self._robots, clock=self._clock, pace=pace, place=place
            )
        except Exception:
            log.exception("attempt broke", fetch_id=str(command.id), dispatch_seq=command.dispatch_seq)
            error = FetchError(type=ErrorType.INTERNAL, detail="The fetcher failed; this is not the host's fault.")
            outcome = judge_failure(error, is_idempotent=command.request.is_idempotent)
            return Attempted(outcome=outcome, finished_at=self._clock())

    def _give_back(
        self, command: PerformFetch, attempted: Attempted, reason: SnoozeReason, *, place: Place, started_at: datetime | None
    ) -> Finished:
        finished = self._finished(command, attempted, place=place, started_at=started_at)
        self._metrics.snoozed(reason)
        log.info(
            "fetch snoozed",
            fetch_id=str(command.id),
            dispatch_seq=command.dispatch_seq,
            host=attempted.host,
            reason=reason,
            not_before=attempted.outcome.not_before.isoformat() if attempted.outcome.not_before else None,
        )
        return finished

    def _finished(
        self, command: PerformFetch, attempted: Attempted, *, place: Place, started_at: datetime | None
    ) -> Finished:
        data = FetchAttempted(
            id=command.id,
            dispatch_seq=command.dispatch_seq,
            worker=self._worker,
            started_at=started_at or attempted.finished_at,
            finished_at=attempted.finished_at,
            outcome=attempted.outcome,
        )
        event = ATTEMPTED.wrap(
            data,
            type=FETCH_ATTEMPTED,
            source=self._source,
            subject=str(command.id),
            now=attempted.finished_at,
            traceparent=current_traceparent(),
        )
        return Finished(
            outcome=attempted.outcome,
            publication=Publication(event=event, body=attempted.body),
            reference=attempted.outcome.body,
            until=command.lease_ends_at,
            place=place,
        )


def _span_of(command: PerformFetch) -> AbstractContextManager[Span]:
    def describe() -> Attributes:
        attributes = message_attributes(COMMAND_QUEUE, "process", system="celery")
        attributes |= {"fetchwork.fetch_id": str(command.id), "fetchwork.dispatch_seq": command.dispatch_seq}
        return attributes if command.train is None else attributes | {"fetchwork.train_id": str(command.train.id)}

    return span("fetch.perform", kind=SpanKind.CONSUMER, traceparent=command.traceparent, describe=describe)


def _tell(current: Span, outcome: Outcome) -> None:
    """What came of the attempt, for whoever reads its span. Failures of hosts are errors of it too: there is no response."""
    if not is_exporting():
        return
    current.set_attribute("fetchwork.outcome", outcome.kind.value)
    if outcome.response is not None:
        current.set_attribute("http.response.status_code", outcome.response.status)
    if outcome.error is not None:
        fail(current, outcome.error.type.value)


@contextmanager
def _report_of(publication: Publication) -> Iterator[Publication]:
    """The publication of an outcome as a step of its fetch's trace: whoever records it goes on from there."""
    event = publication.event
    with step(
        "fetch.report",
        kind=SpanKind.PRODUCER,
        traceparent=event.traceparent,
        describe=lambda: message_attributes(ATTEMPTED_STREAM, "send") | {"fetchwork.fetch_id": event.subject},
    ) as reporting:
        if not reporting.is_recording():
            yield publication
            return
        carried = event.model_copy(update={"traceparent": current_traceparent()})
        yield Publication(event=carried, body=publication.body)


def _log_attempt(finished: Finished, *, host: str | None, method: str) -> None:
    """The one canonical line of an attempt. The URL's path and query stay out of it; host and id are enough to find it."""
    event, outcome, evidence = finished.publication.event, finished.outcome, finished.outcome.evidence
    log.info(
        "attempt finished",
        fetch_id=event.subject,
        dispatch_seq=event.data.dispatch_seq,
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
