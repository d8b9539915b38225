"""Finishes followers that were too many for the transaction that finished their leader, one bounded set a pass."""

from store.database import Connection, Pool, in_transaction
from store.fetches.finish import Finished, finish_followers
from store.handlers import note_finished
from store.hosts.rows import expect_work
from store.metrics import StoreMetrics
from store.queries import query

LOCK = query("finished_leaders_lock")
DELETE = query("finished_leaders_delete")
LEADERS_AT_ONCE = 20
REST_SECONDS = 1.0


class FollowerFinisher:
    """The loop that shares outcomes with whoever still waits for them."""

    name = "follower finisher"

    def __init__(self, *, pool: Pool, source: str, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._source = source
        self._metrics = metrics

    async def run_once(self) -> float:
        """Finish one set; rests when no finished leader has any left."""
        finished, left = await in_transaction(self._pool, self._finish)
        note_finished(self._metrics, finished)
        return 0 if left else REST_SECONDS

    async def _finish(self, connection: Connection) -> tuple[Finished, bool]:
        """What was finished, and whether there was anything to do at all."""
        leader_ids = [row["id"] for row in await connection.fetch(LOCK, LEADERS_AT_ONCE)]
        if not leader_ids:
            return Finished(), False
        finished = await finish_followers(connection, leader_ids, source=self._source, now=None)
        await connection.execute(DELETE, leader_ids)
        await expect_work(connection, sorted(finished.released), now=None)
        return finished, bool(finished.statuses)
