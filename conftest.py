"""Real servers for every test that wants one: Postgres and two Redis-compatible servers, embedded, once a session.

Leaves nothing behind: name a folder with --basetemp to keep what the tests wrote.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from common.streams.connection import connect_redis
from fetchwork_local.servers import embedded_postgres, embedded_redis
from redis.asyncio import Redis


def pytest_configure(config: pytest.Config) -> None:
    """One temporary folder for everything, unless one was asked for with --basetemp; and interrupts that interrupt.

    A shell has what it runs in the background ignore interrupts, and so would every process that a test starts and interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="fetchwork-tests-")
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres server without fsync: tests kill processes, not the machine."""
    with embedded_postgres(tmp_path_factory.mktemp("postgres"), is_durable=False) as url:
        yield url


@pytest.fixture(scope="session")
def events_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The events Redis, durable as in production."""
    with embedded_redis(tmp_path_factory.mktemp("events")) as url:
        yield url


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The broker Redis."""
    with embedded_redis(tmp_path_factory.mktemp("broker"), is_durable=False) as url:
        yield url


@pytest.fixture
async def events(events_url: str) -> AsyncIterator[Redis]:
    """A client of an empty events Redis."""
    async for client in _empty(events_url):
        yield client


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator[Redis]:
    """A client of an empty broker Redis."""
    async for client in _empty(broker_url):
        yield client


async def _empty(url: str) -> AsyncIterator[Redis]:
    client = connect_redis(url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def measured() -> dict[str, str]:
    """What a process of ours must have in its environment so that `make coverage` sees what it runs; else nothing."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return Path(__file__).parent
