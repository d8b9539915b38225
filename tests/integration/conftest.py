"""The whole system for all integration tests, once as processes and once as containers, and an origin to fetch."""

from collections.abc import AsyncIterator, Iterator

import pytest
from container_system import ContainerSystem
from driver import Driver, open_driver
from fetchwork_local.stack import Stack
from more_processes import MoreProcesses
from origin import Origin
from otlp_receiver import Receiver, serve_receiver
from system import ORIGIN_ADDRESS, ProcessSystem, System
from traced_system import TRACED_ENVIRONMENT, Traced

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


@pytest.fixture(scope="module")
def traced_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Receiver, MoreProcesses]]:
    """A stack of a module's own that exports its spans, and what gets them."""
    folder = tmp_path_factory.mktemp("traced")
    with serve_receiver() as receiver:
        environment = TRACED_ENVIRONMENT | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        stack = Stack(folder / "home", environment=environment)
        more = MoreProcesses(stack, environment=environment, folder=folder)
        stack.start()
        yield stack, receiver, more
        more.stop()
        stack.stop()


@pytest.fixture(scope="module")
async def traced(traced_stack: tuple[Stack, Receiver, MoreProcesses]) -> AsyncIterator[Traced]:
    """It, with a client."""
    stack, receiver, more = traced_stack
    async with open_driver(ProcessSystem.of(stack)) as driver:
        yield Traced(stack=stack, driver=driver, receiver=receiver, more=more)


@pytest.fixture(scope="module")
async def website(traced: Traced) -> AsyncIterator[Origin]:
    """The website from hell, for that system."""
    async with traced.driver.system.origin() as served:
        yield served
