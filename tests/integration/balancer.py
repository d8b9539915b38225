"""A load balancer in front of replicas: TCP connections go, in turn, to those that say that they are ready."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import httpx2
from fetchwork_local.ports import LOOPBACK

CHUNK_BYTES = 65_536
LOOK_SECONDS = 0.1
ANSWER_TIMEOUT_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where a replica serves, and where it says whether it is ready."""

    port: int
    readiness_url: str


@dataclass(slots=True)
class Balancer:
    """Connections are never moved: a replica that leaves must say so on those that it has."""

    backends: Sequence[Backend]
    url: str = ""
    ready: list[Backend] = field(default_factory=list)
    turns: "count[int]" = field(default_factory=count)

    async def look(self, client: httpx2.AsyncClient) -> None:
        """Ask all once whether they are ready."""
        answers = await asyncio.gather(*(_is_ready(client, backend) for backend in self.backends))
        self.ready = [backend for backend, is_ready in zip(self.backends, answers, strict=True) if is_ready]

    async def link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on to the first that takes it; end it when nobody does."""
        ready, first = self.ready, next(self.turns)
        for turn in range(len(ready)):
            try:
                back, forth = await asyncio.open_connection(LOOPBACK, ready[(first + turn) % len(ready)].port)
            except OSError:
                continue
            await asyncio.gather(_pass(reader, forth), _pass(back, writer))
            return
        writer.close()


@asynccontextmanager
async def balance(backends: Sequence[Backend]) -> AsyncIterator[Balancer]:
    """A balancer that has looked once, while the context is open."""
    balancer, links = Balancer(backends), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(balancer.link(reader, writer))
        links.add(link)
        link.add_done_callback(links.discard)

    async with httpx2.AsyncClient(timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False) as client:
        await balancer.look(client)
        looking = asyncio.create_task(_look_often(balancer, client))
        server = await asyncio.start_server(accept, LOOPBACK, 0)
        balancer.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        try:
            yield balancer
        finally:
            server.close()
            for task in (looking, *links):
                task.cancel()
            await asyncio.gather(looking, *links, return_exceptions=True)


async def _look_often(balancer: Balancer, client: httpx2.AsyncClient) -> None:
    while True:
        await balancer.look(client)
        await asyncio.sleep(LOOK_SECONDS)


async def _is_ready(client: httpx2.AsyncClient, backend: Backend) -> bool:
    try:
        return (await client.get(backend.readiness_url)).status_code == 200
    except httpx2.TransportError:
        return False


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes, and the end of them."""
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()
