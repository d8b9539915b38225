"""Real servers for every test that wants one: Postgres and two Redis-compatible servers, embedded, once a session.

Leaves nothing behind: name a folder with --basetemp to keep what the tests wrote.
"""

import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from common.streams.connection import connect_redis
from fetchwork_local.servers import embedded_postgres, embedded_redis
from redis.asyncio import Redis
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling


def pytest_configure(config: pytest.Config) -> None:
    """One temporary folder for everything, unless one was asked for with --basetemp; and interrupts that interrupt.

    A shell has what it runs in the background ignore interrupts, and so would every process that a test starts and interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="fetchwork-tests-")
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


class ByFile(LoadFileScheduling):
    """Where tests run in several processes, those of a file share one; those of the SSRF corpus do too, and are counted there."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "the SSRF corpus" if Path(file).name.startswith("test_corpus") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """How `make test` deals out what it runs in two processes."""
    return ByFile(config, log)


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
async def events_as(events: Redis, events_url: str, repository: Path) -> AsyncIterator[Callable[[str], Awaitable[Redis]]]:
    """Clients of the events Redis with the rights that a service has in containers, and no others."""
    lines = (repository / "deploy/redis/events.acl").read_text(encoding="utf-8").splitlines()
    rights = {line.split()[1]: line.split()[2:] for line in lines if line.startswith("user ")}
    async with AsyncExitStack() as stack:

        async def client_of(service: str) -> Redis:
            digest = hashlib.sha256(service.encode()).hexdigest()
            words = [word.replace(f"@events_{service}@", digest) for word in rights[service]]
            await events.execute_command("ACL", "SETUSER", service, *words)
            stack.push_async_callback(events.execute_command, "ACL", "DELUSER", service)
            place = urlsplit(events_url)
            client = connect_redis(f"redis://{service}:{service}@{place.hostname}:{place.port}{place.path}")
            stack.push_async_callback(client.aclose)
            return client

        yield client_of


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
