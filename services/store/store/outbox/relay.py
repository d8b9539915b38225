"""Send committed events to the public feed, at least once, oldest first.

One relay at a time, by an advisory lock, so that the feed keeps the order of the outbox. A crash between sending and deleting
sends an event again under the same id. The lock is a transaction's: Postgres ends one that does nothing for a while, so a relay
that froze or is cut off keeps its turn no longer than that.
"""

import asyncio

from common.chassis.lifecycle import rest_unless
from common.streams.appender import Appender
from common.streams.feed import append_to_feed
from common.streams.names import FEED_STREAM
from redis.asyncio import Redis

from store.database import Connection, Pool, in_transaction
from store.metrics import StoreMetrics
from store.queries import query

OLDEST = query("outbox_oldest")
DELETE = query("outbox_delete")
LOCK_KEY = 0x72656C61  # "rela"
BATCH_EVENTS = 500
IDLE_SECONDS = 1.0


class Relay:
    """The loop that empties the outbox. `wake` cuts its rest short."""

    name = "relay"

    def __init__(self, *, pool: Pool, redis: Redis, metrics: StoreMetrics) -> None:
        self.wake = asyncio.Event()
        self._pool = pool
        self._feed = Appender(redis, FEED_STREAM)
        self._metrics = metrics

    async def run_once(self) -> float:
        """Send one batch, if nobody else is sending one; rest until woken or idle when that was all there was."""
        self.wake.clear()
        sent = await in_transaction(self._pool, self._send_batch)
        if sent is None:
            return IDLE_SECONDS
        self._metrics.outbox_sent.inc(sent)
        if sent < BATCH_EVENTS:
            await rest_unless(self.wake, IDLE_SECONDS)
        return 0

    async def _send_batch(self, connection: Connection) -> int | None:
        """How many events were sent; None while another relay sends."""
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY):
            return None
        rows = await connection.fetch(OLDEST, BATCH_EVENTS)
        if rows:
            await append_to_feed(self._feed, [(row["event"].encode(), row["tenant"]) for row in rows])
            await connection.execute(DELETE, [row["id"] for row in rows])
        return len(rows)
