"""Finds queued fetches whose host the claim would overlook: a store of the release before let them in, or nobody held the host.

Goes round all hosts with queued fetches, a bounded set a pass; and round the idle ones, to forget those that nobody asks for.
"""

from store.database import Connection, Pool, fetch_rows, in_transaction
from store.hosts.rows import expect_work
from store.metrics import StoreMetrics
from store.queries import query

OVERLOOKED = query("hosts_overlooked")
FORGET = query("hosts_forget")
HOSTS_AT_ONCE = 1000
REST_SECONDS = 1.0


class HostKeeper:
    """The loop that lets no host wait for ever, and keeps none for ever."""

    name = "host keeper"

    def __init__(self, *, pool: Pool, retention_seconds: float, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._retention_seconds = retention_seconds
        self._metrics = metrics
        self._after = ""
        self._forgotten_up_to = ""

    async def run_once(self) -> float:
        """Look at one set of hosts; always rests, so that a large queue costs no more than a small one."""
        found = await in_transaction(self._pool, self._keep)
        self._metrics.hosts_overlooked.inc(found)
        row = (await fetch_rows(self._pool, FORGET, self._forgotten_up_to, HOSTS_AT_ONCE, self._retention_seconds, None))[0]
        self._forgotten_up_to = row["last_host"] or ""
        return REST_SECONDS

    async def _keep(self, connection: Connection) -> int:
        rows = await connection.fetch(OVERLOOKED, self._after, HOSTS_AT_ONCE, None)
        overlooked = [row["host"] for row in rows if row["is_overlooked"]]
        await expect_work(connection, overlooked, now=None)
        self._after = rows[-1]["host"] if len(rows) == HOSTS_AT_ONCE else ""
        return len(overlooked)
