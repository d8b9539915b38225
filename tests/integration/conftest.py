"""The whole system for all integration tests, once as processes and once as containers, and an origin to fetch."""

from collections.abc import AsyncIterator, Iterator

import pytest
from container_system import ContainerSystem
from driver import Driver, open_driver
from fetchwork_local.stack import Stack
from origin import Origin
from system import ORIGIN_ADDRESS, ProcessSystem, System

ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{ORIGIN_ADDRESS}/32",
    "FETCHWORK_LEASE_MARGIN_SECONDS": "2",  # so that a test can wait for the lease of a killed worker
    "FETCHWORK_HOST_MAX_IN_FLIGHT": "256",  # everything is fetched from one origin
    "FETCHWORK_API_KEY": "",
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack of its own home and ports."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "home", environment=ENVIRONMENT)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture(scope="session", params=["processes", "containers"])
def system(request: pytest.FixtureRequest) -> System:
    """The same system twice. Whatever takes it is tried on both."""
    if request.param == "processes":
        return ProcessSystem.of(request.getfixturevalue("stack"))
    return ContainerSystem.of(request.getfixturevalue("running"))


@pytest.fixture(scope="session")
async def origin(system: System) -> AsyncIterator[Origin]:
    """The website from hell."""
    async with system.origin() as served:
        yield served


@pytest.fixture(scope="session")
async def driver(system: System) -> AsyncIterator[Driver]:
    """A client of the system."""
    async with open_driver(system) as opened:
        yield opened
