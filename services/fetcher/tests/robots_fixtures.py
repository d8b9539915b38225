"""The fixtures of what robots_world has. A test file asks for them by `pytest_plugins`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from robots_world import Moment, Site, StoreApi

from fetcher.politeness.robots import RobotsGate
from fetcher.politeness.robots_metrics import RobotsMetrics
from fetcher.politeness.robots_store import RobotsStore
from fetcher.report import StoreAddress, store_session

MakeGate = Callable[..., Awaitable[RobotsGate]]


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def store() -> StoreApi:
    return StoreApi()


@pytest.fixture
async def site(serve) -> Site:
    site = Site()
    site.base = await serve({"/robots.txt": site.answer})
    return site


@pytest.fixture
async def make_gate(serve, make_client, store: StoreApi, moment: Moment) -> AsyncIterator[MakeGate]:
    """Build a gate before the store's stand-in; `registry` is an attribute of each, for its metrics."""
    url = await serve({"/internal/v1/robots": store.answer})
    gates = []
    async with store_session() as session:

        async def make(*, client: Any = None, store_url: str = url, store_seconds: float = 2.0, **edges: Any) -> RobotsGate:
            address = StoreAddress(url=store_url, token="secret")
            registry = CollectorRegistry()
            gate = RobotsGate(
                client or make_client(),
                store=RobotsStore(address, session=session, clock=moment, timeout_seconds=store_seconds),
                metrics=RobotsMetrics(registry),
                user_agent="Fetchwork/1 (test)",
                clock=moment,
                **edges,
            )
            gate.registry = registry  # type: ignore[attr-defined]
            gates.append(gate)
            return gate

        yield make
        for gate in gates:
            await gate.close()
