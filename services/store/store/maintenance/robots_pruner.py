"""Bounds the robots.txt files that are kept for all fetchers: long expired ones go, and whatever exceeds the limit."""

from store.database import Pool, fetch_rows
from store.metrics import StoreMetrics
from store.queries import query

PRUNE = query("robots_prune")
REST_SECONDS = 60.0


class RobotsPruner:
    """The loop that prunes robots.txt files."""

    name = "robots pruner"

    def __init__(self, *, pool: Pool, retention_seconds: float, limit_bytes: int, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._retention_seconds = retention_seconds
        self._limit_bytes = limit_bytes
        self._metrics = metrics

    async def run_once(self) -> float:
        """Prune once, and count what is left."""
        row = (await fetch_rows(self._pool, PRUNE, self._retention_seconds, self._limit_bytes, None))[0]
        self._metrics.robots_pruned.inc(row["pruned"])
        self._metrics.robots_files.set(row["kept"])
        return REST_SECONDS
