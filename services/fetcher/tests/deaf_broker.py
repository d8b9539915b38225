"""A proxy in front of a broker that, once it is told to, swallows whatever comes on a connection from its next BRPOP on.

A consumer whose connection is half open has the same: no word ever comes back. All else goes through, on other connections too.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


@dataclass
class DeafBroker:
    """Where it listens, and whether it is deaf by now."""

    url: str = ""
    is_deaf: bool = False

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, up to the BRPOP that nobody hears."""
        is_cut = False
        while chunk := await reader.read(CHUNK_BYTES):
            is_cut = is_cut or (self.is_deaf and b"BRPOP" in chunk)
            if not is_cut:
                writer.write(chunk)
                await writer.drain()


@asynccontextmanager
async def deaf_broker(broker_url: str) -> AsyncIterator[DeafBroker]:
    """Such a proxy, while the context is open; it hears until told otherwise."""
    target, proxy = urlsplit(broker_url), DeafBroker()
    assert target.hostname is not None and target.port is not None
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        back, forth = await asyncio.open_connection(target.hostname, target.port)
        answers = asyncio.create_task(_pass(back, writer))
        try:
            with suppress(OSError, asyncio.CancelledError):
                await proxy.hear(reader, forth)
        finally:
            answers.cancel()
            forth.close()
            writer.close()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    credentials = target.netloc.rpartition("@")[0]
    proxy.url = target._replace(netloc=f"{credentials}@127.0.0.1:{port}" if credentials else f"127.0.0.1:{port}").geturl()
    try:
        yield proxy
    finally:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
