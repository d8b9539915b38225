"""Real origins on loopback, real clients, and sockets that go to an origin here whatever address they are asked to dial."""

import asyncio
import json
import random
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from aiohttp import web
from common.clock import utc_now
from common.contracts.fetches import FetchRequest, PerformFetch
from common.egress.policies import TargetPolicy
from common.ids import new_fetch_id

from fetcher.egress.client import EgressClient
from fetcher.egress.dial import verifying_tls

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))


@dataclass
class Names:
    """A lookup that asks nobody: answer sets by name, one for each lookup, the last one for all further ones; or "hang"."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        sets = self.answers.get(name, [[]])
        if sets == "hang":
            await asyncio.Event().wait()
        found: list[str] = sets.pop(0) if len(sets) > 1 else sets[0]
        return found


class Detour(socket.socket):
    """A socket that connects to an origin of ours and claims to have reached the address that it was asked for."""

    def __init__(self, family: int, *, dials: "Dials") -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._asked_family, self._dials = family, dials
        self._asked: Any = None

    @property
    def family(self) -> Any:
        return self._asked_family

    def connect(self, address: Any) -> None:
        if self._asked is None:  # asyncio asks again until it is connected
            self._dials.asked.append((address[0], address[1]))
        self._asked = address
        super().connect(("127.0.0.1", self._dials.port_for(address[0])))

    def getpeername(self) -> Any:
        return (self._dials.claims or self._asked[0], *self._asked[1:])


@dataclass
class Dials:
    """Opens sockets that all lead to one local port, or nowhere, and remembers how many were opened and for whom.

    With a `canary`, addresses that are not `expected` lead to that port instead.
    """

    port: int | None = None
    claims: str | None = None
    opened: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    canary: int | None = None
    expected: frozenset[str] = frozenset()

    def __call__(self, family: int, _kind: int, _protocol: int) -> socket.socket:
        self.opened += 1
        if self.port is None and self.canary is None:
            raise ConnectionRefusedError("no test dials out")
        return Detour(family, dials=self)

    def port_for(self, address: str) -> int:
        port = self.port if self.canary is None or address in self.expected else self.canary
        if port is None:
            raise ConnectionRefusedError("no test dials out")
        return port


class Canary:
    """A listener that nothing allowed leads to. `count` is how often it was reached."""

    def __init__(self) -> None:
        self.count = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def look(self) -> int:
        """Take in who came since, and say how many came in all. A connection is in the backlog before `connect` returns."""
        while True:
            try:
                self._listener.accept()[0].close()
            except BlockingIOError:
                return self.count
            self.count += 1

    def close(self) -> None:
        self._listener.close()


@dataclass
class CorpusRun:
    """The shared SSRF corpus, which of its cases were played to the end in this session, and the canary of them all."""

    cases: list[Any]
    canary: Canary
    played: set[str] = field(default_factory=set)

    def by_stage(self, ids: set[str] | None = None) -> dict[str, int]:
        """How many cases each stage has, of all or of some."""
        return dict(Counter(case["stage"] for case in self.cases if ids is None or case["id"] in ids))


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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and key for 127.0.0.1 that nobody vouches for."""
    if which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1".split()
    files = ["-keyout", f"{file}.key", "-out", str(file)]
    subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True, timeout=30)
    return file


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    """TLS of an origin with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")
    return context


@pytest.fixture
async def make_client(tls: ssl.SSLContext) -> AsyncIterator[Callable[..., EgressClient]]:
    """Build an egress client that is closed after the test. Without arguments it may dial 127/8 and looks up nothing."""
    clients = []

    def make(policy: TargetPolicy = LOOPBACK, **edges: Any) -> EgressClient:
        edges = {"lookup": Names(), "tls": tls} | edges
        client = EgressClient(policy, user_agent="Fetchwork-test/1", **edges)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture(scope="session")
def corpus() -> Iterator[CorpusRun]:
    """The corpus as it is played in this session."""
    canary = Canary()
    yield CorpusRun(cases=json.loads((Path(__file__).parent / "ssrf_corpus.json").read_text()), canary=canary)
    canary.close()


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
