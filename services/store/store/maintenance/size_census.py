"""Measures what grows slowly: the database, its tables, and the rows that only the owner prunes."""

from store.database import Pool, fetch_rows
from store.metrics import StoreMetrics
from store.queries import query

SIZES = query("database_sizes")
HISTORY = query("history_rows")
REST_SECONDS = 30.0
TABLES = (
    "api_keys",
    "attempts",
    "audit_log",
    "batch_counts",
    "batches",
    "contents",
    "dead_letters",
    "fetch_counts",
    "fetch_labels",
    "fetch_queue",
    "fetches",
    "finished_leaders",
    "hosts",
    "key_counts",
    "operator_log",
    "outbox",
    "queue_counts",
    "robots_files",
    "traffic_samples",
)


class SizeCensus:
    """The loop that measures sizes. Postgres asks the file system for them: a look at each file, and at no row."""

    name = "size census"

    def __init__(self, *, pool: Pool, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._metrics = metrics

    async def run_once(self) -> float:
        """Set every gauge once."""
        for row in await fetch_rows(self._pool, SIZES, TABLES):
            if row["name"] is None:
                self._metrics.servers.database_bytes.set(row["bytes"])
            else:
                self._metrics.servers.table_bytes.labels(table=row["name"]).set(row["bytes"])
        for row in await fetch_rows(self._pool, HISTORY):
            self._metrics.history_rows.labels(table=row["name"]).set(row["rows"])
        return REST_SECONDS
