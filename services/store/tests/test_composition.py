"""The store as it runs: its loops do their work, its routes are there, and its limits are on /metrics."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from common.streams.names import WORKER_KEY_PREFIX
from ledger_words import accept_events, accepted
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.processes import run_store
from store.settings import StoreSettings

TOKEN = "0123456789abcdef"
READY_SECONDS = 20.0
POLL_SECONDS = 0.05


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def settings(
    database_url: str, events_url: str, broker_url: str, events: Redis, broker: Redis
) -> AsyncIterator[StoreSettings]:
    """A running store; servers are empty before."""
    made = StoreSettings.model_validate(
        {
            "database_url": database_url,
            "events_url": events_url,
            "broker_url": broker_url,
            "store_token": TOKEN,
            "store_port": _free_port(),
            "metrics_port": _free_port(),
            "database_pool_size": 11,
            "dispatch_rounds": 3.0,
        }
    )
    await broker.set(f"{WORKER_KEY_PREFIX}w", 7)
    stopping = asyncio.Event()
    running = asyncio.create_task(run_store(made, stopping))
    try:
        yield made
    finally:
        stopping.set()
        async with asyncio.timeout(READY_SECONDS):
            await running


async def _metrics(settings: StoreSettings) -> str:
    """What /metrics says, once it answers."""
    async with httpx2.AsyncClient() as client, asyncio.timeout(READY_SECONDS):
        while True:
            try:
                answer = await client.get(f"http://127.0.0.1:{settings.metrics_port}/metrics")
                if "fetchwork_worker_slots 7.0" in answer.text:
                    return answer.text
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(POLL_SECONDS)


async def test_the_limits_of_every_link_are_on_metrics(settings: StoreSettings) -> None:
    text = await _metrics(settings)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("fetchwork_limit{"))
    assert {name.partition('link="')[2].rstrip('"}'): float(value) for name, value in lines.items()} == {
        "leased_trains": 21,
        "leased_fetches": settings.dispatch_leased_fetches,
        "prune_rows": settings.prune_limit_rows,
        "claim_fetches": settings.dispatch_claim_fetches,
        "batch_fetches": settings.dispatch_batch_fetches,
        "database_connections": 11,
        "database_bytes": settings.database_limit_bytes,
        "ingest_batch_entries": settings.ingest_batch_entries,
        "record_batch_entries": settings.record_batch_entries,
        "redis_connections_events": 64,
        "redis_connections_broker": 64,
    }


async def test_what_may_not_run_ends_by_itself_in_a_running_store(settings: StoreSettings, pool: Pool) -> None:
    await _metrics(settings)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    base_url = f"http://127.0.0.1:{settings.store_port}/internal/v1"
    async with httpx2.AsyncClient(base_url=base_url, headers=headers) as client:
        ban = {"actor": "op", "change": {"state": "banned"}}
        assert (await client.patch("/hosts/one", params={"host": "banned.test"}, json=ban)).status_code == 200
        late, banned = accepted(expires_at=datetime.now(UTC) - timedelta(hours=1)), accepted(host="banned.test")
        kept = accepted(delay_seconds=3600)
        await accept_events(pool, late, banned, kept, now=None)
        cancelled = await client.delete(f"/fetches/{kept.data.fetches[0].id}")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert (await client.get("/dead-letters")).json()["items"] == []
    async with asyncio.timeout(READY_SECONDS):
        while await fetch_rows(pool, "SELECT 1 FROM fetch_queue"):
            await asyncio.sleep(POLL_SECONDS)
    rows = await fetch_rows(pool, "SELECT id, status FROM fetches")
    ids = {name: event.data.fetches[0].id for name, event in (("expired", late), ("failed", banned), ("cancelled", kept))}
    assert {row["status"]: row["id"] for row in rows} == ids
