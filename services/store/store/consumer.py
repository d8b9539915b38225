"""From stream to ledger: read a batch, apply it in one transaction, park what cannot be applied, acknowledge.

The order is commit, then acknowledge: a crash between the two delivers the batch again, and applying it again changes
nothing. One bad message never blocks its neighbours: a refused batch is applied entry by entry. A store that cannot reach
Postgres reads nothing, so that another takes its entries over.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Generic

import structlog
from common.contracts.envelope import EnvelopeHead
from common.streams.consumer import StreamEntry, StreamMember
from pydantic import ValidationError
from redis.asyncio import Redis

from store.database import Connection, Pool, fetch_rows, in_transaction
from store.errors import DataRefused
from store.gather import gather_seconds
from store.handlers import Applied, Data, Delivery, Handler
from store.metrics import StoreMetrics
from store.queries import query
from store.spans import set_span
from store.wipes import note_wipe

PARK = query("dead_letters_insert")
TAKEOVER_EVERY_SECONDS = 5.0

log = structlog.get_logger()

PART_LIMIT_BYTES = 1024 * 1024
"""Events in one transaction at most, which may speak of many fetches each; one that is larger is applied by itself."""

UNKNOWN_TYPE = "unknown_type"
Refusal = tuple[StreamEntry, str]


def parts_of(entries: Sequence[StreamEntry], *, limit_bytes: int) -> Iterator[Sequence[StreamEntry]]:
    """The entries in their order, as many together as fit."""
    part: list[StreamEntry] = []
    size_bytes = 0
    for entry in entries:
        if part and size_bytes + len(entry.event) > limit_bytes:
            yield part
            part, size_bytes = [], 0
        part.append(entry)
        size_bytes += len(entry.event)
    if part:
        yield part


class Ingest(Generic[Data]):
    """The loop that feeds one stream through one handler."""

    def __init__(
        self,
        *,
        redis: Redis,
        member: StreamMember,
        pool: Pool,
        handler: Handler[Data],
        metrics: StoreMetrics,
        takeover_idle_ms: int,
    ) -> None:
        self.name = f"ingest {member.stream}"
        self._redis = redis
        self._member = member
        self._pool = pool
        self._handler = handler
        self._metrics = metrics
        self._takeover_idle_ms = takeover_idle_ms
        self._is_ready = False
        self._had_group = False
        self._has_own_pending = True
        self._next_takeover = 0.0

    async def run_once(self) -> float:
        """Take one batch and apply it. After a fault its entries are still pending, and are read again first."""
        try:
            if not self._is_ready:
                await self._prepare()
            entries = await self._next_batch()
            if entries:
                for part in parts_of(entries, limit_bytes=PART_LIMIT_BYTES):
                    await self._ingest(part)
                return gather_seconds(len(entries), limit=self._member.count)
        except Exception as error:
            self._has_own_pending = True
            if str(error).startswith("NOGROUP"):  # the stream was flushed: make the group again
                self._is_ready = False
            raise
        return 0

    async def _prepare(self) -> None:
        """See that stream and group are there. Gateways promise nothing without the stream, so that a loss is noted first."""
        if not await self._member.has_group():
            await note_wipe(self._pool, self._member.stream, had_group=self._had_group, metrics=self._metrics)
            await self._member.ensure_group()
        self._is_ready = self._had_group = True

    async def _next_batch(self) -> list[StreamEntry]:
        if self._has_own_pending:
            await fetch_rows(self._pool, "SELECT 1")  # to read an entry again starts its idle time anew: not while we are cut off
            entries = await self._member.read_own_pending("0")
            self._has_own_pending = bool(entries)
            if entries:
                return entries
        now = asyncio.get_running_loop().time()
        if now >= self._next_takeover:
            self._next_takeover = now + TAKEOVER_EVERY_SECONDS
            taken = await self._member.take_over(min_idle_ms=self._takeover_idle_ms)
            if taken.lost_ids:
                self._metrics.lost_entries.labels(stream=self._member.stream).inc(len(taken.lost_ids))
                log.error("entries were trimmed before they were acknowledged", stream=self._member.stream, ids=taken.lost_ids)
            self._metrics.taken_over.labels(stream=self._member.stream).inc(len(taken.entries))
            if taken.entries:
                self._next_takeover = now
                return taken.entries
        return await self._member.read_new()

    async def _ingest(self, entries: Sequence[StreamEntry]) -> None:
        deliveries, refusals = self._decode(entries)
        if deliveries:
            with (
                set_span(self._member.stream, [delivery.event for delivery in deliveries]),
                self._metrics.transaction_seconds.labels(stream=self._member.stream).time(),
            ):
                settled, refused = await self._apply(deliveries)
            refusals += refused
        else:
            settled = []
        await self._park(refusals)
        async with self._redis.pipeline(transaction=True) as pipeline:
            if settled:
                self._handler.settle(pipeline, settled)
            pipeline.xack(self._member.stream, self._member.group, *[entry.id for entry in entries])
            await pipeline.execute()

    def _decode(self, entries: Sequence[StreamEntry]) -> tuple[list[Delivery[Data]], list[Refusal]]:
        deliveries: list[Delivery[Data]] = []
        refusals: list[Refusal] = []
        for entry in entries:
            try:
                event = self._handler.envelope.model_validate_json(entry.event)
            except ValidationError as error:
                refusals.append((entry, self._why_not(entry, error)))
                continue
            if event.type == self._handler.event_type:
                deliveries.append(Delivery(entry=entry, event=event))
            else:
                refusals.append((entry, UNKNOWN_TYPE))
        return deliveries, refusals

    def _why_not(self, entry: StreamEntry, error: ValidationError) -> str:
        """What is of another type need not look like ours."""
        try:
            is_other = EnvelopeHead.model_validate_json(entry.event).type != self._handler.event_type
        except ValidationError as headless:
            return f"undecodable: {headless.error_count()} faults"
        return UNKNOWN_TYPE if is_other else f"undecodable: {error.error_count()} faults"

    async def _apply(self, deliveries: Sequence[Delivery[Data]]) -> tuple[list[Delivery[Data]], list[Refusal]]:
        """Apply all in one transaction, or, when the database refuses that, each half in its own, as far down as it takes."""
        try:
            applied = await self._commit(deliveries)
        except DataRefused as error:
            halves = self._halves(deliveries)
            if not halves:
                return await self._refuse(deliveries[0], f"refused: {error}")
            parts = [await self._apply(half) for half in halves]
            return [done for settled, _ in parts for done in settled], [bad for _, refused in parts for bad in refused]
        applied.committed()
        return list(deliveries), list(applied.refused)

    def _halves(self, deliveries: Sequence[Delivery[Data]]) -> list[Sequence[Delivery[Data]]]:
        middle = len(deliveries) // 2
        if middle:
            return [deliveries[:middle], deliveries[middle:]]
        return [[half] for half in self._handler.halves(deliveries[0])]

    async def _refuse(self, delivery: Delivery[Data], reason: str) -> tuple[list[Delivery[Data]], list[Refusal]]:
        """Park the entry and note what follows from it, together: delivered again it might not be refused again."""

        async def work(connection: Connection) -> tuple[Applied, bool]:
            return await self._handler.refuse(connection, delivery), await self._insert(connection, delivery.entry, reason)

        try:
            applied, is_new = await in_transaction(self._pool, work)
        except DataRefused as error:
            return [], [(delivery.entry, f"{reason}; its failure too: {error}")]
        applied.committed()
        self._tell(delivery.entry, reason, is_new=is_new)
        return [delivery], []

    async def _commit(self, deliveries: Sequence[Delivery[Data]]) -> Applied:
        async def work(connection: Connection) -> Applied:
            return await self._handler.apply(connection, deliveries)

        return await in_transaction(self._pool, work)

    async def _park(self, refusals: Sequence[Refusal]) -> None:
        for entry, reason in refusals:

            async def park(connection: Connection, entry: StreamEntry = entry, reason: str = reason) -> bool:
                return await self._insert(connection, entry, reason)

            self._tell(entry, reason, is_new=await in_transaction(self._pool, park))

    async def _insert(self, connection: Connection, entry: StreamEntry, reason: str) -> bool:
        """Keep the entry's bytes; False when it is here already."""
        arguments = (self._member.stream, entry.id, entry.event, entry.body, reason)
        return await connection.fetchval(PARK, *arguments) is not None

    def _tell(self, entry: StreamEntry, reason: str, *, is_new: bool) -> None:
        if is_new:
            self._metrics.dead_letters.labels(stream=self._member.stream).inc()
            log.error("message parked as dead letter", stream=self._member.stream, entry_id=entry.id, reason=reason)
