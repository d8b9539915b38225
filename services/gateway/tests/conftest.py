"""A real gateway process over a real events Redis, with the store's internal API played by a small real server.

The store's side of that API is held to the same answers in services/store/tests/test_api.py.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from aiohttp import web
from firecrawl_words import Fetching
from gateway_process import Gateway, serving
from gateway_words import KEY, make_stream
from little_store import LittleStore
from redis.asyncio import Redis


@pytest.fixture(scope="session")
async def little_store() -> AsyncIterator[tuple[LittleStore, str]]:
    """The played store and its URL."""
    store = LittleStore()
    runner = web.AppRunner(store.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield store, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture(scope="session")
async def running_gateway(
    little_store: tuple[LittleStore, str], events_url: str, measured: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One gateway for all tests of this folder."""
    store, store_url = little_store
    log = tmp_path_factory.mktemp("gateway") / "log"
    async with serving(events_url=events_url, store=store, store_url=store_url, log=log, environment=measured) as gateway:
        yield gateway


@pytest.fixture
async def events(events: Redis) -> Redis:
    """An events Redis as a store leaves it before the first promise."""
    await make_stream(events)
    return events


@pytest.fixture
async def gateway(running_gateway: Gateway, events: Redis) -> AsyncIterator[Gateway]:
    """The gateway with an empty Redis and an empty store."""
    running_gateway.store.clear()
    yield running_gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=10) as opened:
        yield opened


@pytest.fixture
async def fetching(gateway: Gateway, events: Redis) -> AsyncIterator[Fetching]:
    """Fetches end."""
    fetching = Fetching(gateway, events)
    running = asyncio.create_task(fetching.run())
    yield fetching
    fetching.is_stopping = True
    await running
