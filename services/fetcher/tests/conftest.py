"""Real origins on loopback, real clients, and sockets that go to an origin here whatever address they are asked to dial."""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from common.clock import utc_now
from common.contracts.fetches import FetchRequest, PerformFetch
from common.ids import new_fetch_id

from fetcher.egress.addresses import EgressPolicy
from fetcher.egress.client import EgressClient
from fetcher.egress.dial import verifying_tls

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = EgressPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))


@dataclass
class Names:
    """A lookup that asks nobody: answer sets by name, one for each lookup, the last one for all further ones."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        sets = self.answers.get(name, [[]])
        return sets.pop(0) if len(sets) > 1 else sets[0]


class Detour(socket.socket):
    """A socket that connects to an origin of ours and claims to have reached the address that it was asked for."""

    def __init__(self, family: int, *, port: int, claims: str | None) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._asked_family, self._port, self._claims = family, port, claims
        self._asked: Any = None

    @property
    def family(self) -> Any:
        return self._asked_family

    def connect(self, address: Any) -> None:
        self._asked = address
        super().connect(("127.0.0.1", self._port))

    def getpeername(self) -> Any:
        return (self._claims or self._asked[0], *self._asked[1:])


@dataclass
class Dials:
    """Opens sockets that all lead to one local port, or nowhere, and remembers how many were opened."""

    port: int | None = None
    claims: str | None = None
    opened: int = 0

    def __call__(self, family: int, _kind: int, _protocol: int) -> socket.socket:
        self.opened += 1
        if self.port is None:
            raise ConnectionRefusedError("no test dials out")
        return Detour(family, port=self.port, claims=self.claims)


@dataclass
class RawOrigin:
    """A plain TCP listener; `connections` counts who came."""

    port: int
    address: str
    connections: list[int]

    def url(self, path: str = "/") -> str:
        return f"http://{self.address}:{self.port}{path}"


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Start a real aiohttp server for `{path: handler}`; its base URL."""
    async with AsyncExitStack() as stack:

        async def start(routes: dict[str, Handler], *, address: str = "127.0.0.1", tls: Any = None) -> str:
            app = web.Application(client_max_size=2**30)
            for path, handler in routes.items():
                app.router.add_route("*", path, handler)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, address, 0, ssl_context=tls)
            await site.start()
            return f"{'https' if tls else 'http'}://{address}:{runner.addresses[0][1]}"

        yield start


@pytest.fixture
async def serve_raw() -> AsyncIterator[Callable[..., Awaitable[RawOrigin]]]:
    """Start a TCP server that a coroutine plays byte by byte."""
    servers, writers = [], []

    async def start(handler: RawHandler, *, address: str = "127.0.0.1") -> RawOrigin:
        connections: list[int] = []

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(1)
            writers.append(writer)
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client has gone
            finally:
                writer.close()

        server = await asyncio.start_server(play, address, 0)
        servers.append(server)
        return RawOrigin(port=server.sockets[0].getsockname()[1], address=address, connections=connections)

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """The production context, read once: reading the trusted certificates is slow."""
    return verifying_tls()


@pytest.fixture
async def make_client(tls: ssl.SSLContext) -> AsyncIterator[Callable[..., EgressClient]]:
    """Build an egress client that is closed after the test. Without arguments it may dial 127/8 and looks up nothing."""
    clients = []

    def make(policy: EgressPolicy = LOOPBACK, **edges: Any) -> EgressClient:
        edges = {"lookup": Names(), "tls": tls} | edges
        client = EgressClient(policy, user_agent="Fetchwork-test/1", **edges)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
def names() -> Names:
    """An empty lookup to be filled by the test."""
    return Names()


@pytest.fixture
def dials() -> Dials:
    """Sockets that lead nowhere until the test gives them a port."""
    return Dials()


@pytest.fixture
def command() -> Callable[..., PerformFetch]:
    """A command with only the fields that matter to the test."""

    def make(url: str, *, lease_seconds: float = 60, traceparent: str | None = None, **request: Any) -> PerformFetch:
        return PerformFetch(
            id=new_fetch_id(),
            dispatch_seq=1,
            lease_ends_at=utc_now() + timedelta(seconds=lease_seconds),
            traceparent=traceparent,
            request=FetchRequest(url=url, **request),
        )

    return make


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    """Wait for a condition, plain or awaitable, with a limit; what it returned."""

    async def wait(condition: Callable[[], Any], *, seconds: float = 10) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {seconds} s"
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def noon() -> datetime:
    """A fixed moment."""
    return datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def incompressible() -> bytes:
    """Bytes that zstd cannot press below the inline limit."""
    return random.Random(7).randbytes(300 * 1024)
