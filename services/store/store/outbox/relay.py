"""Send committed events to the public feed, at least once, oldest first.

One relay at a time, by a session-level advisory lock, so that the feed keeps the order of the outbox. A crash between
sending and deleting sends an event again under the same id.
"""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
from common.chassis.lifecycle import rest_unless
from common.streams.feed import append_to_feed
from redis.asyncio import Redis

from store.database import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool, in_transaction
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
        self._redis = redis
        self._metrics = metrics

    async def run_once(self) -> float:
        """Become the relay if nobody is, send until the outbox is empty, and stay it until woken or idle."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS))
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                return IDLE_SECONDS
            stack.push_async_callback(connection.execute, f"SELECT pg_advisory_unlock({LOCK_KEY})")
            self.wake.clear()
            while await self._send_batch():
                pass
        await rest_unless(self.wake, IDLE_SECONDS)
        return 0

    async def _send_batch(self) -> bool:
        """Send one batch; True when there may be more."""
        rows = await in_transaction(self._pool, lambda connection: connection.fetch(OLDEST, BATCH_EVENTS))
        if not rows:
            return False
        await append_to_feed(self._redis, [(row["event"].encode(), row["tenant"]) for row in rows])
        await in_transaction(self._pool, lambda connection: _delete(connection, rows))
        self._metrics.outbox_sent.inc(len(rows))
        return len(rows) == BATCH_EVENTS


async def _delete(connection: Connection, rows: list[asyncpg.Record]) -> None:
    await connection.execute(DELETE, [row["id"] for row in rows])
