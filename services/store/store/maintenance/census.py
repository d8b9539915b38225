"""Counts what there is, for the gauges: queue, lag and the conservation of fetches."""

from common.streams.consumer import StreamMember
from common.streams.names import INGESTING_HASH
from redis.asyncio import Redis

from store.database import Pool, fetch_rows
from store.metrics import HOST_STATES, StoreMetrics
from store.queries import query

RUNNING = query("queue_running")
CONSERVATION = query("queue_conservation")
HISTORY = query("history_rows")
CLOSED = query("hosts_closed")
REST_SECONDS = 2.0
HISTORY_EVERY_PASSES = 5
"""History grows slowly."""


class Census:
    """The loop that keeps the gauges true."""

    name = "census"

    def __init__(self, *, pool: Pool, redis: Redis, members: list[StreamMember], metrics: StoreMetrics) -> None:
        self._pool = pool
        self._redis = redis
        self._members = members
        self._metrics = metrics
        self._passes = 0

    async def run_once(self) -> float:
        """Set every gauge once."""
        for member in self._members:
            self._metrics.stream_lag.labels(stream=member.stream, group=member.group).set(await member.lag())
        pending = await self._measure_gap()
        if self._passes % HISTORY_EVERY_PASSES == 0:
            for row in await fetch_rows(self._pool, HISTORY):
                self._metrics.history_rows.labels(table=row["name"]).set(row["rows"])
        self._passes += 1
        running = (await fetch_rows(self._pool, RUNNING))[0]
        self._metrics.queue_fetches.labels(state="running").set(running["running"])
        self._metrics.queue_fetches.labels(state="queued").set(max(0, pending - running["running"]))
        self._metrics.queue_oldest_seconds.set(running["oldest_seconds"] or 0)
        closed = {row["state"]: row["hosts"] for row in await fetch_rows(self._pool, CLOSED)}
        for state in HOST_STATES:
            self._metrics.hosts.labels(state=state).set(closed.get(state, 0))
        return REST_SECONDS

    async def _measure_gap(self) -> int:
        """How many fetches are pending. The gap is above 0 while some are only in Redis yet, and stays so if any is lost."""
        ingesting = int(await self._redis.hlen(INGESTING_HASH))
        ledger = (await fetch_rows(self._pool, CONSERVATION))[0]
        self._metrics.conservation_gap.set(ledger["accepted"] + ingesting - ledger["finished"] - ledger["pending"])
        return int(ledger["pending"])
