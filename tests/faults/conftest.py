"""The fault suite: real processes, and something done to them. A few cases run with every `make test`, all with `make faults`."""

import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from fetchwork_local.ports import free_port
from fetchwork_local.privileges import with_parent
from harness.cluster import HARNESS_FOLDER, Cluster, OpenCluster, open_cluster
from harness.mould import Mould, make_mould
from harness.origin import FaultOrigin

ORIGIN_ADDRESS = "127.9.0.3"
ORIGIN_PORTS = 8


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not quick, unless all were asked for."""
    if config.option.faults == "all":
        return
    here = Path(__file__).parent
    left_out = [item for item in items if here in item.path.parents and item.get_closest_marker("quick") is None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Who asks for all cases is told of one that cannot be had here: it fails."""
    report = yield
    if report.skipped and item.config.option.faults == "all":
        report.outcome = "failed"
        report.longrepr = f"left out, and all were asked for: {report.longrepr}"
    return report


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The source of a case's chances: the session's seed and the case's name, so that a case alone repeats what it did."""
    return random.Random(f"{request.config.option.faults_seed}/{request.node.name}")


@pytest.fixture(scope="session")
async def mould(tmp_path_factory: pytest.TempPathFactory) -> Mould:
    """A Postgres to copy."""
    return await make_mould(tmp_path_factory.mktemp("mould") / "postgres")


@pytest.fixture(scope="session")
def fault_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultOrigin]:
    """The origin of all cases, in a process of its own. Tokens tell whose a hit is."""
    log = tmp_path_factory.mktemp("origin") / "hits"
    log.touch()
    ports = [free_port(ORIGIN_ADDRESS) for _ in range(ORIGIN_PORTS)]
    command = with_parent((sys.executable, "-m", "harness.origin", str(log), ORIGIN_ADDRESS, *map(str, ports)))
    process = subprocess.Popen(command, cwd=HARNESS_FOLDER, start_new_session=True)
    yield FaultOrigin(log=log, address=ORIGIN_ADDRESS, ports=ports)
    process.send_signal(signal.SIGTERM)
    process.wait(10)


@pytest.fixture
def open_case(mould: Mould, fault_origin: FaultOrigin, tmp_path: Path) -> OpenCluster:
    """Open a cluster of this case's own: `async with open_case(NAME=value…) as cluster`."""

    def open_one(**environment: str) -> AbstractAsyncContextManager[Cluster]:
        return open_cluster(tmp_path / "cluster", mould=mould, origin=fault_origin, environment=environment)

    return open_one


@pytest.fixture
async def cluster(open_case: OpenCluster) -> AsyncIterator[Cluster]:
    """The six processes, serving, with nothing changed."""
    async with open_case() as cluster:
        await cluster.boot()
        yield cluster
