"""A caller of the store's internal API, over a real database and a real Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from ledger_words import PACE
from redis.asyncio import Redis
from store.api.access import Access
from store.app import create_app
from store.database import Pool
from store.dispatch.broker import BrokerState
from store.hosts.pace import PaceSettings
from store.metrics import StoreMetrics

TOKEN = "a-token-of-services"


@dataclass(slots=True, kw_only=True)
class Caller:
    """A client that knows the token, what the store counted, and who was woken."""

    http: httpx2.AsyncClient
    metrics: StoreMetrics
    woken: list[str] = field(default_factory=list)


@asynccontextmanager
async def open_caller(pool: Pool, events: Redis, *, pace: PaceSettings = PACE) -> AsyncIterator[Caller]:
    """The store's API in this process."""
    metrics, woken = StoreMetrics(), list[str]()
    access = Access(
        pool=pool,
        events=events,
        source="store/t",
        token=TOKEN,
        upload_limit_bytes=10_000,
        has_fetcher=lambda: True,
        fleet=lambda: BrokerState(slots=32, workers=2, has_marker=True),
        pace=pace,
        metrics=metrics,
        wake_dispatcher=lambda: woken.append("dispatcher"),
        wake_relay=lambda: woken.append("relay"),
    )
    transport = httpx2.ASGITransport(app=create_app(access))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://store", headers=headers) as http:
        yield Caller(http=http, metrics=metrics, woken=woken)
