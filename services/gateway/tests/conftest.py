"""A real gateway process over a real events Redis, with the store's internal API played by a small real server.

The store's side of that API is held to the same answers in services/store/tests/test_api.py.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import httpx2
import pytest
from aiohttp import web
from fetchwork_local.ports import free_port
from gateway_words import KEY
from redis.asyncio import Redis

TOKEN = "a-token-of-services"
START_SECONDS = 20


@dataclass
class LittleStore:
    """What the store would answer: views and contents by fetch id."""

    views: dict[UUID, str] = field(default_factory=dict)
    contents: dict[UUID, tuple[dict[str, str], bytes | None]] = field(default_factory=dict)
    is_broken: bool = False

    async def get_fetch(self, request: web.Request) -> web.Response:
        """The view of a fetch."""
        if self.is_broken or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=503)
        view = self.views.get(UUID(request.match_info["id"]))
        return web.Response(text=view, content_type="application/json") if view else web.Response(status=404)

    async def get_content(self, request: web.Request) -> web.Response:
        """The stored body of a fetch."""
        if self.is_broken:
            return web.Response(status=503)
        found = self.contents.get(UUID(request.match_info["id"]))
        if found is None:
            return web.Response(status=404)
        headers, body = found
        return web.Response(status=204, headers=headers) if body is None else web.Response(body=body, headers=headers)


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A running gateway and what it stands on."""

    url: str
    metrics_url: str
    store: LittleStore
    process: asyncio.subprocess.Process


@pytest.fixture(scope="session")
async def running_gateway(events_url: str, measured: dict[str, str]) -> AsyncIterator[Gateway]:
    """One gateway for all tests of this folder."""
    store, port, metrics_port = LittleStore(), free_port(), free_port()
    app = web.Application()
    app.add_routes(
        [
            web.get("/internal/v1/fetches/{id}", store.get_fetch),
            web.get("/internal/v1/fetches/{id}/content", store.get_content),
        ]
    )
    runner = web.AppRunner(app)
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
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    gateway = Gateway(
        url=f"http://127.0.0.1:{port}", metrics_url=f"http://127.0.0.1:{metrics_port}", store=store, process=process
    )
    await _wait_until_ready(gateway)
    yield gateway
    process.terminate()
    await asyncio.wait_for(process.communicate(), 20)
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
    running_gateway.store.views.clear()
    running_gateway.store.contents.clear()
    running_gateway.store.is_broken = False
    yield running_gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=10) as opened:
        yield opened
