"""Ends fetches that may not be attempted any more because their time is over; one that is out may still bring its response."""

from datetime import datetime

import structlog

from store.database import Connection, Pool, in_transaction
from store.fetches.finish import Finished, finish_fetches
from store.fetches.lifecycle import expire
from store.handlers import note_finished
from store.hosts.rows import expect_work
from store.metrics import StoreMetrics
from store.queries import query

FIND = query("queue_find_expired")
BATCH_FETCHES = 500
REST_SECONDS = 1.0

log = structlog.get_logger()


class Expirer:
    """The loop that ends what came too late."""

    name = "expirer"

    def __init__(self, *, pool: Pool, source: str, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._source = source
        self._metrics = metrics

    async def run_once(self, *, now: datetime | None = None) -> float:
        """Finish one batch as `expired`; rests when there are no more. `now` None is Postgres's."""
        count, finished = await in_transaction(self._pool, lambda connection: self._expire(connection, now=now))
        note_finished(self._metrics, finished)
        if count:
            log.info("fetches expired", fetches=count)
        return 0 if count == BATCH_FETCHES else REST_SECONDS

    async def _expire(self, connection: Connection, *, now: datetime | None) -> tuple[int, Finished]:
        rows = await connection.fetch(FIND, BATCH_FETCHES, now)
        finishes = [expire(row["id"], reason=_reason(row["expires_at"])) for row in rows]
        finished = await finish_fetches(connection, finishes, source=self._source, now=now)
        await expect_work(connection, sorted(finished.released), now=now)
        return len(finishes), finished


def _reason(expires_at: datetime) -> str:
    return f"The fetch expired at {expires_at:%Y-%m-%dT%H:%M:%SZ}, before an attempt brought a result."
