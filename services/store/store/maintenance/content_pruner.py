"""Deletes contents that no fetch refers to: their fetches were pruned, or their upload was never followed by its outcome.

Whoever is about to refer to a content holds its row, or that of a fetch that refers to it (`contents/keep.py`, `sql/reuse.sql`).
Such rows are left alone; and while one is locked here, nobody can begin to refer to it. Postgres itself refuses the rest.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from common.streams.names import ATTEMPTED_STREAM
from common.streams.trim import outstanding_since_ms
from redis.asyncio import Redis

from store.contents.keep import CONTENT_GRACE_SECONDS
from store.database import Connection, Pool, fetch_rows, in_transaction
from store.metrics import StoreMetrics
from store.queries import query

UNUSED = query("contents_unused")
LOCK = query("contents_lock")
PRUNE = query("contents_prune")
NOW = query("queue_now")
BREATH_SECONDS = 1.0
REST_SECONDS = 60.0
ROUND_SECONDS = 3600.0


class ContentPruner:
    """The loop that goes round all contents, a bounded set a pass, and begins a round once an hour.

    Bodies are uploaded before their outcomes are in the stream, so none goes that is younger than an hour, or than the oldest
    outcome that waits there and an hour. The first round begins an hour after the start: a store that was away, or restored from
    a backup, may not know yet what waits.
    """

    name = "content pruner"

    def __init__(self, *, pool: Pool, redis: Redis, limit: int, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._redis = redis
        self._limit = limit
        self._metrics = metrics
        self._after = b""
        self._next_round_at: datetime | None = None

    async def run_once(self, now: datetime | None = None) -> float:
        """Look at one set of contents, unless the next round is still to come."""
        told_at: datetime = now or (await fetch_rows(self._pool, NOW))[0]["now"]
        if self._next_round_at is None:
            self._next_round_at = told_at + timedelta(seconds=CONTENT_GRACE_SECONDS)
        if told_at < self._next_round_at:
            return REST_SECONDS
        waiting_ms = await outstanding_since_ms(self._redis, ATTEMPTED_STREAM)
        waiting_since = told_at if waiting_ms is None else datetime.fromtimestamp(waiting_ms / 1000, UTC)
        horizon = min(told_at, waiting_since) - timedelta(seconds=CONTENT_GRACE_SECONDS)
        rows = await fetch_rows(self._pool, UNUSED, self._after, self._limit, horizon)
        unused = [row["digest"] for row in rows if row["is_unused"]]
        if unused:
            pruned = await in_transaction(self._pool, lambda connection: prune_contents(connection, unused, horizon=horizon))
            self._metrics.pruned.labels(what="contents").inc(pruned)
        if len(rows) == self._limit:
            self._after = rows[-1]["digest"]
            return BREATH_SECONDS
        self._after, self._next_round_at = b"", told_at + timedelta(seconds=ROUND_SECONDS)
        return REST_SECONDS


async def prune_contents(connection: Connection, digests: Sequence[bytes], *, horizon: datetime) -> int:
    """Delete those that were handed in before the horizon and that nothing refers to, nor is about to. Never waits.

    Two statements: what was committed before a row was locked is seen by the second, not surely by the first.
    """
    locked = [row["digest"] for row in await connection.fetch(LOCK, list(digests), horizon)]
    return len(await connection.fetch(PRUNE, locked)) if locked else 0
