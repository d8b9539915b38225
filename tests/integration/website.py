"""The website from hell: an origin that can be slow, huge, flapping, redirecting, lying and rude, and logs every hit.

Runs inside the tests' own process or, as `python website.py ADDRESS PORT`, in a container; `/seen` says what it saw.
"""

import asyncio
import gzip
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from aiohttp import web

SLOW_LIMIT_SECONDS = 60.0
HUGE_LIMIT_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class Website:
    """The handlers, and what they saw: how often each path with its query was hit, and with which headers last."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}

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
            web.get("/seen/hits", self._seen_hits),
            web.get("/seen/headers", self._seen_headers),
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

    async def _seen_hits(self, request: web.Request) -> web.Response:
        """How often each path that contains `part` was hit. Not counted itself."""
        part = request.query.get("part", "")
        return web.json_response({path: count for path, count in self.hits.items() if part in path})

    async def _seen_headers(self, request: web.Request) -> web.Response:
        """The headers of the last request for `path`."""
        return web.json_response(self.headers.get(request.query["path"], {}))


def page(key: str) -> bytes:
    """The bytes of a page: unlike those of any other key."""
    return f"<!doctype html><title>{key}</title><p>ünïcode and {key}\r\n".encode()


def noise(count: int) -> bytes:
    """So many bytes that do not compress, the same for the same count."""
    return Random(count).randbytes(count)


@asynccontextmanager
async def serve_website(address: str, port: int = 0) -> AsyncIterator[int]:
    """The website at an address; yields its port, a free one unless it is named."""
    app = web.Application()
    app.add_routes(Website().routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _serve_for_ever(address: str, port: int) -> None:
    async with serve_website(address, port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_for_ever(sys.argv[1], int(sys.argv[2])))
