"""Counts what there is, for the gauges: queue, streams, outbox and the conservation of fetches."""

from common.streams.consumer import StreamMember
from common.streams.names import INGESTING_HASH
from redis.asyncio import Redis

from store.database import Pool, fetch_rows
from store.metrics import HOST_STATES, StoreMetrics
from store.queries import query

RUNNING = query("queue_running")
CONSERVATION = query("queue_conservation")
OUTBOX = query("outbox_depth")
CLOSED = query("hosts_closed")
REST_SECONDS = 2.0
OUTBOX_LIMIT = 100_000
"""How far the outbox is counted; it holds what the relay has not sent in this moment."""


class Census:
    """The loop that keeps the gauges true."""

    name = "census"

    def __init__(self, *, pool: Pool, redis: Redis, members: list[StreamMember], metrics: StoreMetrics) -> None:
        self._pool = pool
        self._redis = redis
        self._members = members
        self._metrics = metrics

    async def run_once(self) -> float:
        """Set every gauge once."""
        for member in self._members:
            await self._measure_stream(member)
        pending = await self._measure_gap()
        running = (await fetch_rows(self._pool, RUNNING))[0]
        self._metrics.queue_fetches.labels(state="running").set(running["running"])
        self._metrics.queue_fetches.labels(state="queued").set(max(0, pending - running["running"]))
        self._metrics.leases_overdue.set(running["overdue"])
        self._metrics.queue_oldest_seconds.set(running["oldest_seconds"] or 0)
        outbox = (await fetch_rows(self._pool, OUTBOX, OUTBOX_LIMIT))[0]
        self._metrics.outbox_events.set(outbox["events"])
        self._metrics.outbox_oldest_seconds.set(outbox["oldest_seconds"] or 0)
        closed = {row["state"]: row["hosts"] for row in await fetch_rows(self._pool, CLOSED)}
        for state in HOST_STATES:
            self._metrics.hosts.labels(state=state).set(closed.get(state, 0))
        return REST_SECONDS

    async def _measure_stream(self, member: StreamMember) -> None:
        labels = {"stream": member.stream, "group": member.group}
        self._metrics.stream_lag.labels(**labels).set(await member.lag())
        unacknowledged = await member.unacknowledged()
        self._metrics.stream_pending.labels(**labels).set(unacknowledged.entries)
        self._metrics.stream_idle_seconds.labels(**labels).set(unacknowledged.idle_seconds)

    async def _measure_gap(self) -> int:
        """How many fetches are pending. The gap is above 0 while some are only in Redis yet, and stays so if any is lost."""
        ingesting = int(await self._redis.hlen(INGESTING_HASH))
        ledger = (await fetch_rows(self._pool, CONSERVATION))[0]
        self._metrics.conservation_gap.set(ledger["accepted"] + ingesting - ledger["finished"] - ledger["pending"])
        return int(ledger["pending"])
