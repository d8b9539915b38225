"""The origin that every contestant fetches from: pages of 10,000 bytes, another one for each path, for as little work as can be.

Run as a process of its own: `origin.py ADDRESS HOSTS` listens on so many ports, which are as many hosts, prints them as JSON, and
serves until its standard input ends. There is no robots.txt.
"""

import asyncio
import json
import random
import sys
from typing import cast

import uvloop

PAGE_BYTES = 10_000
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\nETag: \"%s\"\r\n\r\n"
OPENING = b"<!doctype html><html><head><title>%s</title></head><body><p>"


def _words(count: int) -> bytes:
    """Text that compresses about as well as prose."""
    drawn = random.Random(1)
    words = ["".join(drawn.choices("etaoinshrdlu", k=drawn.randint(2, 9))) for _ in range(600)]
    return " ".join(drawn.choices(words, k=count)).encode()


TEXT = _words(3000)


def page_of(path: bytes) -> bytes:
    """The whole answer."""
    opening = OPENING % path
    body = opening + TEXT[: PAGE_BYTES - len(opening)]
    return HEAD % (len(body), path[-40:]) + body


class Origin(asyncio.Protocol):
    """Answers each GET of a connection in turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._pending = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while b"\r\n\r\n" in self._pending:
            head, _, self._pending = self._pending.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            self._transport.write(MISSING if path == b"/robots.txt" else page_of(path))


async def _serve(address: str, hosts: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Origin, address, 0, backlog=512) for _ in range(hosts)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
