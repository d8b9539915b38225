"""A real gateway process over a real events Redis, with the store's internal API played by a small real server.

The store's side of that API is held to the same answers in services/store/tests/test_api.py.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
from aiohttp import web
from fetchwork_local.ports import free_port
from firecrawl_words import Fetching
from gateway_words import KEY
from little_store import TOKEN, LittleStore
from redis.asyncio import Redis

START_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A running gateway and what it stands on."""

    url: str
    metrics_url: str
    store_url: str
    store: LittleStore
    process: asyncio.subprocess.Process


@pytest.fixture(scope="session")
async def running_gateway(
    events_url: str, measured: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One gateway for all tests of this folder. Its log goes to a file: a pipe that nobody reads would stop it when full."""
    store, port, metrics_port = LittleStore(), free_port(), free_port()
    runner = web.AppRunner(store.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store_port = runner.addresses[0][1]
    environment = {
        **measured,
        "PATH": os.environ["PATH"],
        "FETCHWORK_PORT": str(port),
        "FETCHWORK_METRICS_PORT": str(metrics_port),
        "FETCHWORK_API_KEY": KEY,
        "FETCHWORK_EVENTS_URL": events_url,
        "FETCHWORK_STORE_URL": f"http://127.0.0.1:{store_port}",
        "FETCHWORK_STORE_TOKEN": TOKEN,
        "FETCHWORK_INGESTING_LIMIT_FETCHES": "50",
    }
    with (tmp_path_factory.mktemp("gateway") / "log").open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", env=environment, stdout=written, stderr=asyncio.subprocess.STDOUT
        )
    gateway = Gateway(
        url=f"http://127.0.0.1:{port}",
        metrics_url=f"http://127.0.0.1:{metrics_port}",
        store_url=environment["FETCHWORK_STORE_URL"],
        store=store,
        process=process,
    )
    await _wait_until_ready(gateway)
    yield gateway
    process.terminate()
    await asyncio.wait_for(process.wait(), 20)
    assert process.returncode in (0, -15)
    await runner.cleanup()


async def _wait_until_ready(gateway: Gateway) -> None:
    async with asyncio.timeout(START_SECONDS), httpx2.AsyncClient(base_url=gateway.url) as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)


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
