"""A TCP proxy on the loopback between one service and one server, that can be cut, held, slowed or made to swallow bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class Wire:
    """One link. Its attributes may be set at any time and hold for the bytes that pass from then on.

    `swallows_requests` and `swallows_replies` make a black hole of one direction: bytes are read and never delivered, and no end
    of a connection is either. `delay_seconds` holds each piece back. `refuses` resets whoever connects. `cut_replies_after`, once
    so many bytes of replies have passed, cuts every connection and is None again.
    """

    server_port: int
    port: int = 0
    delay_seconds: float = 0.0
    swallows_requests: bool = False
    swallows_replies: bool = False
    refuses: bool = False
    cut_replies_after: int | None = None
    connections: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _deaf: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Reset every connection there is (RST, not an orderly end)."""
        for writer in list(self._writers):
            _reset(writer)

    def black_hole(self, *, is_on: bool = True) -> None:
        """Swallow both directions, or deliver again. What was swallowed stays lost."""
        self.swallows_requests = self.swallows_replies = is_on

    def deafen(self) -> None:
        """Swallow the replies of the connections there are: half-open ones. New ones are sound."""
        self._deaf = set(self._writers)

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end closes it."""
        if self.refuses:
            _reset(writer)
            return
        self.connections += 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.server_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, is_reply=False), self._carry(far_reader, writer, is_reply=True)
            )
        finally:
            self._writers -= {writer, far_writer}
            for end in (writer, far_writer):
                _reset(end)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if (self.swallows_replies or writer in self._deaf) if is_reply else self.swallows_requests:
                    continue
                if is_reply and self._is_cut_now(len(data)):
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
        if not (self.swallows_requests or self.swallows_replies or writer in self._deaf):
            _reset(writer)

    def _is_cut_now(self, size: int) -> bool:
        if self.cut_replies_after is None:
            return False
        self.cut_replies_after -= size
        if self.cut_replies_after > 0:
            return False
        self.cut_replies_after = None
        return True


@asynccontextmanager
async def open_wire(server_port: int) -> AsyncIterator[Wire]:
    """A wire to a server on the loopback, for as long as the context is open."""
    wire = Wire(server_port=server_port)
    server = await asyncio.start_server(wire.serve_connection, LOOPBACK, 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, RuntimeError):
        writer.transport.abort()
