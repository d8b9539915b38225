"""Fails fetches that were dispatched again and again without any outcome, so that a crash loop is visible and ends."""

import structlog

from store.database import Connection, Pool, in_transaction
from store.fetches.finish import finish_fetches
from store.fetches.lifecycle import abandon
from store.metrics import StoreMetrics
from store.queries import query

FIND = query("queue_find_abandoned")
BATCH_FETCHES = 500
REST_SECONDS = 1.0

log = structlog.get_logger()


class Abandoner:
    """The loop that ends crash loops."""

    name = "abandoner"

    def __init__(self, *, pool: Pool, after_dispatches: int, source: str, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._after_dispatches = after_dispatches
        self._source = source
        self._metrics = metrics

    async def run_once(self) -> float:
        """Finish one batch as `failed: abandoned`; rests when there are no more."""
        count = await in_transaction(self._pool, self._abandon)
        if count:
            self._metrics.finished.labels(status="failed").inc(count)
            log.warning("fetches abandoned", fetches=count, dispatches=self._after_dispatches)
        return 0 if count == BATCH_FETCHES else REST_SECONDS

    async def _abandon(self, connection: Connection) -> int:
        rows = await connection.fetch(FIND, self._after_dispatches, BATCH_FETCHES, None)
        finishes = [abandon(row["id"], dispatches=self._after_dispatches) for row in rows]
        await finish_fetches(connection, finishes, source=self._source, now=None)
        return len(finishes)
