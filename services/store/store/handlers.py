"""Which event goes through which door of the ledger, and what is told to whom once it is committed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from common.chassis.telemetry import traceparent_of
from common.contracts.batches import AcceptedBatch
from common.contracts.catalog import FETCH_ACCEPTED, FETCH_ATTEMPTED
from common.contracts.envelope import Envelope, Message
from common.contracts.fetches import AcceptedFetch, ErrorType, FetchAttempted, FetchesAccepted
from common.streams.consumer import StreamEntry
from common.streams.names import INGESTING_HASH
from redis.asyncio.client import Pipeline

from store.batches.keep import keep_batches
from store.contents.keep import Kept
from store.database import Connection
from store.fetches.accept import accept
from store.fetches.finish import Finished
from store.fetches.lifecycle import Jitter
from store.fetches.record import Attempt, record
from store.fetches.refuse import refuse_fetch
from store.hosts.pace import PaceSettings
from store.metrics import StoreMetrics
from store.spans import accept_spans, end_all, record_spans

Data = TypeVar("Data", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(Generic[Data]):
    """One stream entry with the event read from it."""

    entry: StreamEntry
    event: Envelope[Data]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a transaction did: `committed` tells the rest of the process; `refused` names entries to park, with a reason."""

    committed: Callable[[], None]
    refused: Sequence[tuple[StreamEntry, str]] = field(default=())


class Handler(Protocol[Data]):
    """How events of one type are applied, in a transaction that may run more than once."""

    event_type: str
    envelope: type[Envelope[Data]]

    async def apply(self, connection: Connection, deliveries: Sequence[Delivery[Data]]) -> Applied:
        """Apply the events in their order, in the caller's transaction; idempotent."""

    def halves(self, delivery: Delivery[Data]) -> Sequence[Delivery[Data]]:
        """One event as two that together say the same; none when it cannot be divided."""

    async def refuse(self, connection: Connection, delivery: Delivery[Data]) -> Applied:
        """Note, in the caller's transaction, what follows from an event that the database refused and nothing divides."""

    def settle(self, pipeline: Pipeline, deliveries: Sequence[Delivery[Data]]) -> None:
        """Add what must happen in Redis together with the acknowledgement."""


class AcceptHandler(Handler[FetchesAccepted]):
    """`fetch.accepted.v1` enters the ledger and the queue, and leaves the hash of fetches being ingested."""

    event_type = FETCH_ACCEPTED
    envelope = Envelope[FetchesAccepted]

    def __init__(
        self,
        *,
        metrics: StoreMetrics,
        source: str,
        coalesce_wait_seconds: float,
        priority_step_seconds: float,
        wake_dispatcher: Callable[[], None],
        wake_relay: Callable[[], None],
    ) -> None:
        self._metrics = metrics
        self._source = source
        self._coalesce_wait_seconds = coalesce_wait_seconds
        self._priority_step_seconds = priority_step_seconds
        self._wake_dispatcher = wake_dispatcher
        self._wake_relay = wake_relay

    async def apply(self, connection: Connection, deliveries: Sequence[Delivery[FetchesAccepted]]) -> Applied:
        """Accept every fetch of every event."""
        events = [delivery.event for delivery in deliveries]
        spans = accept_spans(events)
        accepted = await accept(
            connection,
            events,
            source=self._source,
            coalesce_wait_seconds=self._coalesce_wait_seconds,
            priority_step_seconds=self._priority_step_seconds,
            now=None,
            traceparents={fetch_id: carried for fetch_id, span in spans.items() if (carried := traceparent_of(span))},
        )

        def committed() -> None:
            end_all(spans.values())
            self._metrics.ingested.inc(accepted.count)
            note_finished(self._metrics, accepted.finished)
            self._wake_dispatcher()
            if accepted.finished.statuses:
                self._wake_relay()

        return Applied(committed=committed)

    def halves(self, delivery: Delivery[FetchesAccepted]) -> Sequence[Delivery[FetchesAccepted]]:
        """Half of the fetches each, so that one that is refused costs its neighbours nothing; the batch goes with the second."""
        fetches = delivery.event.data.fetches
        parts = (fetches[: len(fetches) // 2], fetches[len(fetches) // 2 :])
        if not all(parts):
            return []
        return [_part(delivery, parts[0], batch=None), _part(delivery, parts[1], batch=delivery.event.data.batch)]

    async def refuse(self, connection: Connection, delivery: Delivery[FetchesAccepted]) -> Applied:
        """A fetch that the database does not take fails: it was promised, so somebody waits for it."""
        finished = Finished()
        if delivery.event.data.batch is not None:
            await keep_batches(connection, [delivery.event.data.batch])
        for fetch in delivery.event.data.fetches:
            finished += await refuse_fetch(connection, fetch, source=self._source, now=None)

        def committed() -> None:
            self._metrics.ingested.inc(finished.statuses.total())
            note_finished(self._metrics, finished)
            self._wake_relay()

        return Applied(committed=committed)

    def settle(self, pipeline: Pipeline, deliveries: Sequence[Delivery[FetchesAccepted]]) -> None:
        """From here on a reader finds these fetches in Postgres."""
        events = [delivery.event.data for delivery in deliveries]
        ids = [str(fetch.id) for event in events for fetch in event.fetches]
        ids += [str(event.batch.id) for event in events if event.batch is not None]
        if ids:
            pipeline.hdel(INGESTING_HASH, *ids)


class RecordHandler(Handler[FetchAttempted]):
    """`fetch.attempted.v1` is recorded; slots have come free, so the dispatcher is woken."""

    event_type = FETCH_ATTEMPTED
    envelope = Envelope[FetchAttempted]

    def __init__(
        self,
        *,
        metrics: StoreMetrics,
        source: str,
        pace: PaceSettings,
        jitter: Jitter,
        wake_dispatcher: Callable[[], None],
        wake_relay: Callable[[], None],
    ) -> None:
        self._metrics = metrics
        self._source = source
        self._pace = pace
        self._jitter = jitter
        self._wake_dispatcher = wake_dispatcher
        self._wake_relay = wake_relay

    async def apply(self, connection: Connection, deliveries: Sequence[Delivery[FetchAttempted]]) -> Applied:
        """Record every attempt; one of a fetch that the ledger never had is refused."""
        spans = record_spans(delivery.event for delivery in deliveries)
        attempts = [Attempt(attempted=delivery.event.data, body=_body(delivery)) for delivery in deliveries]
        recorded = await record(
            connection, attempts, source=self._source, pace=self._pace, now=None, jitter=self._jitter
        )

        def committed() -> None:
            end_all(spans)
            note_finished(self._metrics, recorded.finished)
            note_kept(self._metrics, recorded.kept)
            for outcome, count in recorded.attempts.items():
                self._metrics.attempts.labels(outcome=outcome).inc(count)
            self._metrics.retries.inc(recorded.retries)
            self._metrics.snoozed.inc(recorded.snoozed)
            self._metrics.politeness_violations.inc(recorded.violations)
            self._wake_dispatcher()
            self._wake_relay()

        refused = [(delivery.entry, "unknown_fetch") for delivery in deliveries if delivery.event.data.id in recorded.unknown]
        return Applied(committed=committed, refused=refused)

    def halves(self, delivery: Delivery[FetchAttempted]) -> Sequence[Delivery[FetchAttempted]]:
        """None: it tells of one attempt."""
        return []

    async def refuse(self, connection: Connection, delivery: Delivery[FetchAttempted]) -> Applied:
        """Nothing: the fetch's lease ends, and it is attempted again or abandoned."""
        return Applied(committed=lambda: None)

    def settle(self, pipeline: Pipeline, deliveries: Sequence[Delivery[FetchAttempted]]) -> None:
        """Nothing but the acknowledgement."""


def note_finished(metrics: StoreMetrics, finished: Finished) -> None:
    """Count what a committed transaction finished."""
    for status, count in finished.statuses.items():
        metrics.finished.labels(status=status).inc(count)
    for error_type, count in finished.errors.items():
        metrics.failed.labels(error_type=error_type, fault=ErrorType(error_type).fault.value).inc(count)
    for kind, count in finished.reused.items():
        metrics.reused.labels(kind=kind).inc(count)
        metrics.reuse_saved_bytes.labels(kind=kind).inc(finished.saved_bytes[kind])


def note_kept(metrics: StoreMetrics, kept: Kept) -> None:
    """Count the bodies that a committed transaction was given."""
    metrics.contents.labels(result="new").inc(kept.new_bodies)
    metrics.contents.labels(result="duplicate").inc(kept.bodies - kept.new_bodies)
    metrics.content_bytes.labels(result="new").inc(kept.new_size_bytes)
    metrics.content_bytes.labels(result="duplicate").inc(kept.size_bytes - kept.new_size_bytes)


def _part(
    delivery: Delivery[FetchesAccepted], fetches: tuple[AcceptedFetch, ...], *, batch: AcceptedBatch | None
) -> Delivery[FetchesAccepted]:
    """The same event with these of its fetches."""
    data = FetchesAccepted(fetches=fetches, batch=batch)
    return replace(delivery, event=delivery.event.model_copy(update={"data": data}))


def _body(delivery: Delivery[FetchAttempted]) -> bytes | None:
    """The body beside the event, if the event says that it travels there."""
    reference = delivery.event.data.outcome.body
    return delivery.entry.body if reference is not None and reference.is_inline else None
