"""Deletes finished fetches once they are old enough, then the batches of which none is left, and old dead letters.

Walks along ids, which sort by time, a bounded set a pass; at the end it rests and begins anew. Deletes nothing by default. Never
touches the audit log, nor counts: what was accepted and finished stays counted, so that conservation holds.
"""

from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from store.database import Connection, Pool, in_transaction
from store.metrics import StoreMetrics
from store.queries import query

FETCHES = query("fetches_prune")
BATCHES = query("batches_prune")
BATCH_COUNTS = query("batch_counts_prune")
DEAD_LETTERS = query("dead_letters_prune")
NOW = query("queue_now")
FIRST = UUID(int=0)
BREATH_SECONDS = 0.2
"""Between two passes of a walk: with 500 fetches a pass, at most 2500 a second."""
REST_SECONDS = 60.0


class FetchPruner:
    """The loop that prunes finished fetches, batches and dead letters; a retention of 0 keeps for ever."""

    name = "fetch pruner"

    def __init__(
        self,
        *,
        pool: Pool,
        fetch_retention_seconds: float,
        dead_letter_retention_seconds: float,
        limit: int,
        metrics: StoreMetrics,
    ) -> None:
        self._pool = pool
        self._fetch_retention_seconds = fetch_retention_seconds
        self._dead_letter_retention_seconds = dead_letter_retention_seconds
        self._limit = limit
        self._metrics = metrics
        self._after_fetch = self._after_batch = FIRST

    async def run_once(self, now: datetime | None = None) -> float:
        """Look at one set of each; rests when the end of every walk was reached."""
        walks = []
        if self._fetch_retention_seconds:
            walks += [await self._prune_fetches(now), await self._prune_batches(now)]
        if self._dead_letter_retention_seconds:
            walks.append(await self._prune_dead_letters(now))
        return BREATH_SECONDS if any(walks) else REST_SECONDS

    async def _prune_fetches(self, now: datetime | None) -> bool:
        """True while there may be more."""

        async def prune(connection: Connection) -> asyncpg.Record:
            horizon = await _horizon(connection, self._fetch_retention_seconds, now)
            row = await connection.fetchrow(FETCHES, self._after_fetch, first_id(horizon), self._limit, horizon)
            if row["batch_ids"]:
                await connection.execute(BATCH_COUNTS, row["batch_ids"])
            return row

        row = await in_transaction(self._pool, prune)
        self._metrics.pruned.labels(what="fetches").inc(row["fetches"])
        self._metrics.pruned.labels(what="attempts").inc(row["attempts"])
        has_more: bool = row["looked_at"] == self._limit
        self._after_fetch = row["last_id"] if has_more else FIRST
        return has_more

    async def _prune_batches(self, now: datetime | None) -> bool:
        async def prune(connection: Connection) -> asyncpg.Record:
            horizon = await _horizon(connection, self._fetch_retention_seconds, now)
            return await connection.fetchrow(BATCHES, self._after_batch, first_id(horizon), self._limit, horizon)

        row = await in_transaction(self._pool, prune)
        self._metrics.pruned.labels(what="batches").inc(row["batches"])
        has_more: bool = row["looked_at"] == self._limit
        self._after_batch = row["last_id"] if has_more else FIRST
        return has_more

    async def _prune_dead_letters(self, now: datetime | None) -> bool:
        async def prune(connection: Connection) -> int:
            horizon = await _horizon(connection, self._dead_letter_retention_seconds, now)
            return len(await connection.fetch(DEAD_LETTERS, horizon, self._limit))

        pruned = await in_transaction(self._pool, prune)
        self._metrics.pruned.labels(what="dead_letters").inc(pruned)
        return pruned == self._limit


def first_id(moment: datetime) -> UUID:
    """Not above any UUID of version 7 made at this moment or later (RFC 9562 section 5.7), and above all made before."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


async def _horizon(connection: Connection, retention_seconds: float, now: datetime | None) -> datetime:
    told_at: datetime = now or await connection.fetchval(NOW)
    return told_at - timedelta(seconds=retention_seconds)
