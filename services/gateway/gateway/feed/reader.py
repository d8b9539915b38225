"""The feed in this process: one reader of its stream, the latest entries in a ring, and word to whoever waits for more.

A client has a cursor and no queue. It takes one page after another, from the ring or, where its cursor is older than the
ring, from Redis; so a slow client only lags, and memory is bounded by the ring and one page a client. Order is the
stream's. A cursor never moves past an entry that its client was not sent, nor back: nothing is skipped, and nothing comes
twice on one connection.

Whoever has taken everything waits for its tenant's next entry. What wakes it says how far the feed had come before that
entry, so that a client to whom nothing happens for hours does not fall behind the ring.
"""

import asyncio
from bisect import bisect_right
from typing import Any

import structlog
from common.streams.connection import BLOCK_MILLISECONDS
from common.streams.feed import BEGINNING, FeedRecord, StreamId, read_records
from common.streams.names import FEED_STREAM
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.errors import FeedUnavailable
from gateway.feed.entries import FeedEntry, Page, Selection, select
from gateway.feed.finishes import Finishes
from gateway.metrics import FeedSource, GatewayMetrics

READ_ENTRIES = 500
WARM_ENTRIES = 1000
"""Entries that a new ring begins with, so that the clients of the process before need not ask Redis all at once."""
SCAN_ENTRIES = 2000
"""Entries of a ring that one page looks at."""
HISTORY_ENTRIES = 200
"""Entries that one page reads from Redis."""
HISTORY_READS = 4
"""Pages that are read from Redis at once; other clients that lag wait their turn."""
BACKOFF_SECONDS = 0.5

log = structlog.get_logger()


class Feed:
    """The feed's one reader, which `run` is, and what its clients ask. `finishes` are fetches that somebody waits for."""

    def __init__(self, redis: Redis, *, metrics: GatewayMetrics, ring_entries: int, ring_bytes: int) -> None:
        self.finishes = Finishes()
        self.is_closing = False
        self._redis = redis
        self._metrics = metrics
        self._ring_entries = ring_entries
        self._ring_bytes = ring_bytes
        self._ring: list[FeedEntry] = []
        self._size_bytes = 0
        self._position: StreamId | None = None
        self._floor = BEGINNING
        """The ring has every entry from behind this one up to the position."""
        self._is_verified = False
        self._waiting: dict[str, asyncio.Future[StreamId]] = {}
        self._history = asyncio.Semaphore(HISTORY_READS)

    @property
    def is_ready(self) -> bool:
        """Whether the feed could be read since the start of the process."""
        return self._position is not None

    @property
    def position(self) -> StreamId:
        """The last entry that was read. Raises FeedUnavailable while none could be, since the start of the process."""
        if self._position is None:
            raise FeedUnavailable("the feed could not be read yet")
        return self._position

    async def run(self) -> None:
        """Read on until cancelled; what fails is tried again after a while."""
        while True:
            try:
                await self._read()
            except (RedisError, OSError) as error:
                self._is_verified = False
                self._metrics.feed_failures.inc()
                log.warning("feed not read", error=type(error).__name__, reason=str(error)[:300])
                await asyncio.sleep(BACKOFF_SECONDS)

    def close(self) -> None:
        """Wake everyone who waits: the process is about to stop."""
        self.is_closing = True
        self._wake_all()
        self.finishes.close()

    async def page(self, after: StreamId, *, selection: Selection, limit: int) -> Page:
        """What comes behind the cursor, which may be nothing although more is behind that. Raises FeedUnavailable."""
        if self._floor <= after <= self.position:
            start = bisect_right(self._ring, after, key=_id)
            self._metrics.feed_pages.labels(source=FeedSource.RING).inc()
            return select(self._ring[start : start + SCAN_ENTRIES], after=after, selection=selection, limit=limit)
        self._metrics.feed_pages.labels(source=FeedSource.HISTORY).inc()
        try:
            async with self._history:
                return await self._history_page(after, selection=selection, limit=limit)
        except (RedisError, OSError) as error:
            raise FeedUnavailable(type(error).__name__) from error

    async def arrival(
        self, tenant: str, *, after: StreamId, timeout_seconds: float, gone: "asyncio.Future[None] | None" = None
    ) -> StreamId:
        """Wait until something of the tenant comes, for a client that has taken everything up to `after`.

        Returns its cursor, moved past what is not the tenant's. Ends early when the feed closes or the client is `gone`.
        """
        if self._position is None or after < self._position or self.is_closing:
            return after
        arrival = self._waiting.setdefault(tenant, asyncio.get_running_loop().create_future())
        awaited: list[asyncio.Future[Any]] = [arrival] if gone is None else [arrival, gone]
        await asyncio.wait(awaited, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        return max(after, arrival.result() if arrival.done() else self.position)

    async def _read(self) -> None:
        if self._position is None:
            await self._begin()
        if not self._is_verified:
            await self._verify()
        reply: Any = await self._redis.xread({FEED_STREAM: str(self.position)}, count=READ_ENTRIES, block=BLOCK_MILLISECONDS)
        if reply:
            self._take(read_records(reply[0][1]))
        else:
            self._is_verified = False

    async def _begin(self) -> None:
        """Start at the end of the stream, with the last entries in the ring."""
        count = min(WARM_ENTRIES, self._ring_entries)
        latest: Any = await self._redis.xrevrange(FEED_STREAM, count=count)
        records = read_records(reversed(latest))
        self._position = self._floor = records[0].id if records else await self._last_id()
        self._take(records[1:])
        self._is_verified = True

    async def _verify(self) -> None:
        """Start over where the stream ends before our position: it was lost, and another has taken its place."""
        if await self._last_id() < self.position:
            log.warning("feed replaced", position=str(self.position))
            self._position = self._floor = BEGINNING
            self._ring, self._size_bytes = [], 0
            self._wake_all()
        self._is_verified = True

    async def _last_id(self) -> StreamId:
        try:
            info = await self._redis.xinfo_stream(FEED_STREAM)
        except ResponseError as error:
            if _is_missing(error):
                return BEGINNING
            raise
        return StreamId.parse(info["last-generated-id"].decode())

    def _take(self, records: list[FeedRecord]) -> None:
        """Keep new entries, forget the oldest, and wake those whose they are."""
        if not records:
            return
        before, entries = self.position, [FeedEntry(record) for record in records]
        self._ring += entries
        self._position = entries[-1].id
        self._size_bytes += sum(len(entry.event) for entry in entries)
        self._forget()
        for tenant in {entry.tenant for entry in entries}:
            if arrival := self._waiting.pop(tenant, None):
                arrival.set_result(before)
        self.finishes.note(entries)

    def _forget(self) -> None:
        excess = max(0, len(self._ring) - self._ring_entries)
        size_bytes = self._size_bytes - sum(len(entry.event) for entry in self._ring[:excess])
        while size_bytes > self._ring_bytes:
            size_bytes -= len(self._ring[excess].event)
            excess += 1
        if excess:
            self._floor = self._ring[excess - 1].id
            del self._ring[:excess]
        self._size_bytes = size_bytes
        self._metrics.feed_ring_bytes.set(size_bytes)

    def _wake_all(self) -> None:
        for arrival in self._waiting.values():
            arrival.set_result(BEGINNING)
        self._waiting = {}

    async def _history_page(self, after: StreamId, *, selection: Selection, limit: int) -> Page:
        floor = self._floor  # was read already: up to there, what the stream no longer has is not to come
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xrange(FEED_STREAM, min=f"({after}", count=HISTORY_ENTRIES)
            pipeline.xinfo_stream(FEED_STREAM)  # behind the entries: what is trimmed between the two is told, not missed
            reply, info = await pipeline.execute(raise_on_error=False)
        for part in (reply, info):
            if isinstance(part, Exception) and not _is_missing(part):
                raise part
        if isinstance(info, Exception):
            return Page(entries=[], cursor=BEGINNING, gap=None if after == BEGINNING else BEGINNING)
        last = StreamId.parse(info["last-generated-id"].decode())
        if after > last:
            return Page(entries=[], cursor=BEGINNING, gap=_oldest(info) or last)  # the cursor's stream was lost
        page = select(map(FeedEntry, read_records(reply)), after=after, selection=selection, limit=limit)
        oldest = _oldest(info) or last
        is_cut = BEGINNING < after < oldest and info["length"] < info["entries-added"]
        return Page(entries=page.entries, cursor=page.cursor if reply else max(after, floor), gap=oldest if is_cut else None)


def _oldest(info: dict[str, Any]) -> StreamId | None:
    return StreamId.parse(info["first-entry"][0].decode()) if info["first-entry"] else None


def _is_missing(error: Exception) -> bool:
    """Whether the stream is not there: nothing was ever told, or Redis was emptied."""
    return isinstance(error, ResponseError) and "no such key" in str(error)


def _id(entry: FeedEntry) -> StreamId:
    return entry.id
