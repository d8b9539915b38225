"""Fails fetches that were dispatched as often as they may be without any outcome: crash loops, and lost single attempts."""

import structlog

from store.database import Connection, Pool, in_transaction
from store.fetches.finish import Finished, finish_fetches
from store.fetches.lifecycle import abandon
from store.handlers import note_finished
from store.hosts.rows import expect_work
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
        count, finished = await in_transaction(self._pool, self._abandon)
        if count:
            note_finished(self._metrics, finished)
            log.warning("fetches abandoned", fetches=count, dispatches=self._after_dispatches)
        return 0 if count == BATCH_FETCHES else REST_SECONDS

    async def _abandon(self, connection: Connection) -> tuple[int, Finished]:
        rows = await connection.fetch(FIND, self._after_dispatches, BATCH_FETCHES, None)
        finishes = [abandon(row["id"], dispatches=row["unanswered"], at_most_once=row["at_most_once"]) for row in rows]
        finished = await finish_fetches(connection, finishes, source=self._source, now=None)
        await expect_work(connection, sorted(finished.released), now=None)
        return len(finishes), finished
