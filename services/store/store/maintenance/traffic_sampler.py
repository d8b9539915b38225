"""Keeps one sample of traffic a minute for the status page, and deletes those that are too old."""

from datetime import timedelta

from store.database import Pool, fetch_rows
from store.queries import query
from store.traffic import read_traffic

KEEP = query("traffic_keep")
PRUNE = query("traffic_prune")
PRUNED_AT_ONCE = 1000
"""Far more than one pass adds, so that a shorter retention is in force soon."""
LATE_SECONDS = 0.05
"""Behind the beginning of a minute, so that a pass does not come just before it."""


class TrafficSampler:
    """The loop that samples. Several stores may: the first one's sample of a minute stays."""

    name = "traffic sampler"

    def __init__(self, *, pool: Pool, retention_seconds: float) -> None:
        self._pool = pool
        self._retention = timedelta(seconds=retention_seconds)

    async def run_once(self) -> float:
        """Keep the sample of this minute unless there is one, and rest until the next minute."""
        now = await read_traffic(self._pool)
        counts = (now.accepted, now.succeeded, now.failed, now.cancelled, now.expired)
        await fetch_rows(self._pool, KEEP, now.at, *counts, now.queued, now.running, now.oldest_seconds)
        await fetch_rows(self._pool, PRUNE, now.at - self._retention, PRUNED_AT_ONCE)
        return 60 - now.at.timestamp() % 60 + LATE_SECONDS
