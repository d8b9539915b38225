"""Today's services in this process, on real servers: a store whose ledger was filled by recorded events, and a gateway."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import httpx2
import pytest
from common.streams.connection import connect_redis
from common.clock import utc_now
from exchanges import KEY, TOKEN, load_exchanges, named, play
from gateway.app import create_app as create_gateway
from gateway.parts import open_means
from gateway.settings import GatewaySettings
from gateway_words import make_stream
from recorded_events import recorded_event
from redis.asyncio import Redis
from store.api.access import Access
from store.app import create_app as create_store
from store.database import Connection, Pool, in_transaction, open_pool
from store.dispatch.broker import BrokerState
from store.dispatch.claim import Claimed, ClaimLimits, Lease, claim
from store.fetches.accept import accept
from store.fetches.record import Attempt, record
from store.hosts.pace import PaceSettings
from store.metrics import StoreMetrics
from store.migrate import migrate

RECORDED_AT = datetime(2026, 1, 1, 12, 0, 2, tzinfo=UTC)
PACE = PaceSettings(delay_ms=0, max_in_flight=4)
LEASE = Lease(margin_seconds=30, abandon_after_dispatches=5)


@pytest.fixture(scope="module")
async def ledger(postgres_url: str) -> AsyncIterator[Pool]:
    """A database of today's schema in which recorded events happened: of three fetches one succeeded and one was refused."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP DATABASE IF EXISTS contracts WITH (FORCE)")
    await connection.execute("CREATE DATABASE contracts TEMPLATE template0")
    await connection.close()
    url = f"{postgres_url.rsplit('/', 1)[0]}/contracts"
    await migrate(url)
    async with open_pool(url, size=4) as pool:
        yield pool


@pytest.fixture(scope="module")
async def dispatched(ledger: Pool) -> list[Claimed]:
    """What today's store made of the recorded promises: the commands for its fetchers."""
    promised = recorded_event("fetch.accepted.v1.three")

    async def work(connection: Connection) -> None:
        await accept(
            connection, [promised], source="store/0", coalesce_wait_seconds=1, priority_step_seconds=600, now=None
        )
        await connection.execute("UPDATE hosts SET last_ended_at = '2025-01-01'")  # one that nobody met gets one at a time

    await in_transaction(ledger, work)
    limits = ClaimLimits(claim_fetches=10, slots=10, leased_fetches=10)
    trains = await claim(ledger, limits=limits, lease=LEASE, pace=PACE, trains=False, now=None)
    return [fetch for train in trains for fetch in train]


@pytest.fixture(scope="module")
async def store(ledger: Pool, dispatched: list[Claimed], events_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller of today's store, after the recorded attempts."""
    page, refused = recorded_event("fetch.attempted.v1.page"), recorded_event("fetch.attempted.v1.refused")
    attempts = [Attempt(attempted=page.data, body=named("store", "content").answer.content), Attempt(attempted=refused.data)]

    async def work(connection: Connection) -> None:
        await record(connection, attempts, source="store/0", pace=PACE, now=RECORDED_AT, jitter=lambda: 1.0)

    await in_transaction(ledger, work)
    access = Access(
        pool=ledger,
        events=connect_redis(events_url),
        source="store/0",
        token=TOKEN,
        upload_limit_bytes=100_000,
        has_fetcher=lambda: True,
        fleet=lambda: BrokerState(slots=32, workers=2, has_marker=True),
        pace=PACE,
        metrics=StoreMetrics(),
        wake_dispatcher=lambda: None,
        wake_relay=lambda: None,
    )
    app = create_store(access)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://store") as client:
        yield client


@pytest.fixture
async def gateway(events: Redis, events_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller of today's gateway, which reads from a store that answers as recorded."""
    await make_stream(events)
    async with play(load_exchanges("store")) as (url, _):
        settings = GatewaySettings.model_validate(
            {"api_key": KEY, "events_url": events_url, "store_token": TOKEN, "store_url": url, "metrics_port": 0}
        )
        async with open_means(settings, clock=utc_now) as means:
            transport = httpx2.ASGITransport(app=create_gateway(means, settings))
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                yield client
