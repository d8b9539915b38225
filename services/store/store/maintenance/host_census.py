"""Names the hosts with most queued fetches, for operators who asked for that."""

from store.database import Pool, fetch_rows
from store.metrics import StoreMetrics
from store.queries import query

MOST_QUEUED = query("hosts_most_queued")
PAGES_LIMIT = 5000
"""Pages of the queue's table that one look reads at most, 40 MB: some 200,000 fetches, and exact while there are no more."""
REST_SECONDS = 30.0
OTHER = "other"


class HostCensus:
    """The loop that counts queued fetches by host: `top_hosts` series, and one for all others together."""

    name = "host census"

    def __init__(self, *, pool: Pool, top_hosts: int, metrics: StoreMetrics, pages_limit: int = PAGES_LIMIT) -> None:
        self._pool = pool
        self._top_hosts = top_hosts
        self._metrics = metrics
        self._pages_limit = pages_limit
        self._shown: set[str] = set()

    async def run_once(self) -> float:
        """Set every gauge once; a host that is no longer among them loses its series."""
        rows = await fetch_rows(self._pool, MOST_QUEUED, self._top_hosts, self._pages_limit, None)
        named = {row["host"]: row["fetches"] for row in rows}
        others = max(0.0, float(rows[0]["waiting"]) - sum(named.values())) if rows else 0.0
        counts = named | {OTHER: named.get(OTHER, 0) + others}  # somebody may have called a host so
        for host, fetches in counts.items():
            self._metrics.host_queue_fetches.labels(host=host).set(round(fetches))
        for host in self._shown - counts.keys():
            self._metrics.host_queue_fetches.remove(host)
        self._shown = set(counts)
        return REST_SECONDS
