"""A gateway that listens, and commands that know it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from commands import Commands
from played_batches import PlayedBatches
from played_feed import PlayedFeed
from played_gateway import API_KEY, PlayedGateway, only_with_the_key
from played_keys import PlayedKeys


@pytest.fixture
async def gateway(batches: PlayedBatches, feed: PlayedFeed, keys: PlayedKeys) -> AsyncIterator[PlayedGateway]:
    """A gateway that listens."""
    played = batches.gateway
    app = web.Application(middlewares=[only_with_the_key])
    app.add_routes([*played.routes(), *batches.routes(), *feed.routes(), *keys.routes()])
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield played
    feed.has_ended.set()
    await runner.cleanup()


@pytest.fixture
def batches() -> PlayedBatches:
    """The gateway's batches."""
    return PlayedBatches(gateway=PlayedGateway())


@pytest.fixture
def feed() -> PlayedFeed:
    """The gateway's feed."""
    return PlayedFeed()


@pytest.fixture
def keys() -> PlayedKeys:
    """The gateway's API keys."""
    return PlayedKeys()


@pytest.fixture
def api_key() -> str:
    """The key that the gateway takes."""
    return API_KEY


@pytest.fixture
def commands(gateway: PlayedGateway, api_key: str, tmp_path: Path) -> Commands:
    """Commands that know the gateway."""
    return Commands(tmp_path, FETCHWORK_URL=gateway.url, FETCHWORK_API_KEY=api_key)
