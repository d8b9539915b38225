"""An origin that does its worst: `PLAYS` by name, each a coroutine that plays one connection byte by byte."""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from functools import cache

import brotli
import zstandard

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GIBIBYTE = 1024**3
BOMB_BYTES = 200 * 1024 * 1024

_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, 6),
    "deflate": zlib.compress,
    "br": lambda content: brotli.compress(content, quality=5),
    "zstd": zstandard.compress,
}


@cache
def bomb(coding: str, *, size_bytes: int = BOMB_BYTES) -> bytes:
    """Many zeros in a few bytes."""
    return _ENCODERS[coding](bytes(size_bytes))


def _says(head: bytes, body: bytes = b"") -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()

    return play


def _coded(coding: str) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = bomb(coding)
        await _says(OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(data)}\r\n\r\n".encode(), data)(reader, writer)

    return play


def _endless(head: bytes, piece: bytes, *, pause_seconds: float = 0.0) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return play


def _then_waits(head: bytes) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await reader.read()

    return play


async def _redirect_with_a_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if b"/next" in await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK + b"Content-Length: 2\r\n\r\nok")
        return
    data = bomb("gzip")
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Encoding: gzip\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
    await reader.read()


async def _slow_redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        await asyncio.sleep(0.15)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK + b"Content-Length: 100\r\n\r\nhello")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()


async def _silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


_NESTED = gzip.compress(gzip.compress(bytes(10 * 1024 * 1024)))

PLAYS: dict[str, Play] = {
    **{f"{coding} bomb": _coded(coding) for coding in _ENCODERS},
    "nested bomb": _says(OK + b"Content-Encoding: gzip, gzip\r\n\r\n", _NESTED),
    "bomb in a redirect": _redirect_with_a_bomb,
    "flood of gzip members": _endless(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"") * 3000),
    "slow head": _endless(OK, b"X: y\r\n", pause_seconds=0.05),
    "silence": _silence,
    "silence within TLS": _silence,
    "endless head": _endless(OK, b"X: y\r\n" * 1000),
    "endless header line": _endless(OK + b"X: ", b"y" * 10_000),
    "flood of interim responses": _endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
    "slow flood of interim responses": _endless(b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", pause_seconds=0.05),
    "slow body": _endless(OK + b"\r\n", b"x", pause_seconds=0.05),
    "stalled body": _then_waits(OK + b"Content-Length: 100\r\n\r\nhello"),
    "stalled chunk": _endless(CHUNKED + b"5\r\nhello\r\n5;x=", b"y", pause_seconds=0.05),
    "slow redirects": _slow_redirects,
    "endless redirects": _says(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"),
    "endless chunks": _endless(CHUNKED, (b"400\r\n" + bytes(1024) + b"\r\n") * 100),
    "endless chunk extensions": _endless(CHUNKED, (b"1;" + b"x" * 500 + b"\r\ny\r\n") * 100),
    "endless chunk extension": _endless(CHUNKED + b"5;", b"x" * 10_000),
    "endless trailers": _endless(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n" * 1000),
    "gibibyte declared": _endless(OK + b"Content-Length: %d\r\n\r\n" % GIBIBYTE, bytes(65536)),
    "gibibyte declared and coded": _endless(
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % GIBIBYTE, bytes(65536)
    ),
    "gibibyte undeclared": _endless(OK + b"\r\n", bytes(65536)),
    "truncated": _says(OK + b"Content-Length: 100\r\n\r\nhello"),
    "truncated chunks": _says(CHUNKED + b"64\r\nhello"),
    "reset": _reset,
    "hung up": _says(b""),
}
