"""One whole system for all integration tests: the embedded stack, as `fetchwork up` starts it, and an origin to fetch."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from driver import Driver
from fetchwork_local.stack import Stack
from origin import ADDRESS, Origin, serve_origin

ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{ADDRESS}/32",
    "FETCHWORK_LEASE_MARGIN_SECONDS": "2",  # so that a test can wait for the lease of a killed worker
    "FETCHWORK_API_KEY": "",
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack of its own home and ports."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "home", environment=ENVIRONMENT)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture(scope="session")
async def origin() -> AsyncIterator[Origin]:
    """The website from hell."""
    async with serve_origin() as served:
        yield served


@pytest.fixture(scope="session")
async def driver(stack: Stack) -> AsyncIterator[Driver]:
    """A client of the stack."""
    status = stack.status()
    assert status.gateway is not None
    headers = {"Authorization": f"Bearer {status.api_key}"}
    limits = httpx2.Limits(max_connections=64)
    async with httpx2.AsyncClient(base_url=status.gateway, headers=headers, timeout=15, limits=limits) as client:
        yield Driver(client=client, metrics_urls=status.metrics)
