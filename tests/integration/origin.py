"""The website from hell: an origin that can be slow, huge, flapping, redirecting, lying and rude, and logs every hit."""

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from aiohttp import web

ADDRESS = "127.9.0.1"
"""A loopback address of its own, so that allowing it opens no door to anything else on this machine."""
SLOW_LIMIT_SECONDS = 60.0
HUGE_LIMIT_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class Origin:
    """The handlers, and what they saw: how often each path with its query was hit, and with which headers last."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.url = ""

    def routes(self) -> list[web.RouteDef]:
        """All pages."""
        return [
            web.get("/page/{key}", self._page),
            web.get("/status/{status}", self._status),
            web.get("/bytes/{count}", self._bytes),
            web.get("/slow/{seconds}", self._slow),
            web.get("/drip/{seconds}", self._drip),
            web.get("/huge/{count}", self._huge),
            web.get("/flapping/{failures}/{key}", self._flapping),
            web.get("/redirect", self._redirect),
            web.get("/loop", self._loop),
            web.get("/gzip", self._gzip),
            web.get("/cut", self._cut),
        ]

    def _note(self, request: web.Request) -> int:
        self.hits[request.path_qs] += 1
        self.headers[request.path_qs] = dict(request.headers)
        return self.hits[request.path_qs]

    async def _page(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(body=page(request.match_info["key"]), headers={"Content-Type": "text/html; charset=utf-8"})

    async def _status(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(status=int(request.match_info["status"]), text="as you wish\n")

    async def _bytes(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(body=noise(int(request.match_info["count"])))

    async def _slow(self, request: web.Request) -> web.Response:
        self._note(request)
        await asyncio.sleep(min(float(request.match_info["seconds"]), SLOW_LIMIT_SECONDS))
        return web.Response(text="at last\n")

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        """A body that never quite ends."""
        self._note(request)
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(min(float(request.match_info["seconds"]), SLOW_LIMIT_SECONDS) * 10)):
            await response.write(b".")
            await asyncio.sleep(0.1)
        return response

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        """A body without a declared length."""
        self._note(request)
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(min(int(request.match_info["count"]), HUGE_LIMIT_BYTES) // CHUNK_BYTES):
            await response.write(b"\0" * CHUNK_BYTES)
        return response

    async def _flapping(self, request: web.Request) -> web.Response:
        """503 so many times, then 200."""
        is_down = self._note(request) <= int(request.match_info["failures"])
        return web.Response(status=503 if is_down else 200, text="down\n" if is_down else "up\n")

    async def _redirect(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def _loop(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(status=302, headers={"Location": "/loop"})

    async def _gzip(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.Response(body=gzip.compress(page("gzip")), headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        """Declares more than it sends, then hangs up."""
        self._note(request)
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response


def page(key: str) -> bytes:
    """The bytes of a page: unlike those of any other key."""
    return f"<!doctype html><title>{key}</title><p>ünïcode and {key}\r\n".encode()


def noise(count: int) -> bytes:
    """So many bytes that do not compress, the same for the same count."""
    return Random(count).randbytes(count)


@asynccontextmanager
async def serve_origin() -> AsyncIterator[Origin]:
    """The website on a free port of its address."""
    origin, app = Origin(), web.Application()
    app.add_routes(origin.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, 0).start()
    origin.url = f"http://{ADDRESS}:{runner.addresses[0][1]}"
    try:
        yield origin
    finally:
        await runner.cleanup()


class Canary:
    """A listener that nobody may connect to. `url` leads to it; `connections` counts those who came."""

    def __init__(self, host: str) -> None:
        self.connections = 0
        self.host = host
        self.port = 0

    @property
    def url(self) -> str:
        """The canary's URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    async def answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count, and give the guard away by answering."""
        self.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        writer.close()


@asynccontextmanager
async def serve_canary(host: str) -> AsyncIterator[Canary]:
    """A canary on a free port."""
    canary = Canary(host)
    server = await asyncio.start_server(canary.answer, host, 0)
    canary.port = server.sockets[0].getsockname()[1]
    try:
        yield canary
    finally:
        server.close()
        await server.wait_closed()
