"""The website from hell: an origin that can be slow, huge, flapping, redirecting, lying and rude, and logs every hit.

Runs inside the tests' own process or, as `python website.py ADDRESS PORT...`, in a container; `/seen` says what it saw. Each of
its ports is an origin with a robots.txt of its own, which `/seen/robots` sets; there is none at first.
"""

import asyncio
import base64
import gzip
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import brotli
import zstandard
from aiohttp import web

SLOW_LIMIT_SECONDS = 60.0
HUGE_LIMIT_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
ETAG = '"as-it-was"'
WORDS = "съешь ещё этих мягких французских булок"
HTML = {"Content-Type": "text/html; charset=utf-8"}
CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


class Website:
    """The handlers, and what they saw: how often each path with its query was hit, and with which headers last."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.robots: dict[int, tuple[int, str]] = {}

    def routes(self) -> list[web.RouteDef]:
        """All pages."""
        return [
            web.get("/page/{key}", self._page),
            web.get("/status/{status}", self._status),
            web.get("/bytes/{count}", self._bytes),
            web.route("*", "/slow/{seconds}", self._slow),
            web.route("*", "/echo", self._echo),
            web.route("*", "/dropped", self._dropped),
            web.get("/drip/{seconds}", self._drip),
            web.get("/huge/{count}", self._huge),
            web.get("/flapping/{failures}/{key}", self._flapping),
            web.get("/redirect", self._redirect),
            web.get("/loop", self._loop),
            web.get("/gzip", self._gzip),
            web.get("/coded/{coding}", self._coded),
            web.get("/charset/{charset}", self._charset),
            web.get("/validated/{key}", self._validated),
            web.get("/robots.txt", self._robots),
            web.put("/seen/robots/{port}", self._set_robots),
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

    async def _echo(self, request: web.Request) -> web.Response:
        """What arrived, as it arrived."""
        self._note(request)
        body = base64.b64encode(await request.read()).decode()
        return web.json_response({"method": request.method, "headers": dict(request.headers), "body": body})

    async def _dropped(self, request: web.Request) -> web.Response:
        """Takes the request whole and hangs up without a word."""
        self._note(request)
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _coded(self, request: web.Request) -> web.Response:
        self._note(request)
        coding = request.match_info["coding"]
        return web.Response(body=CODERS[coding](page(coding)), headers={"Content-Encoding": coding, **HTML})

    async def _charset(self, request: web.Request) -> web.Response:
        """Text in a charset that its header names wrongly, and its markup rightly."""
        self._note(request)
        charset = request.match_info["charset"]
        headers = {"Content-Type": f"text/html; charset={request.query.get('declared', charset)}"}
        return web.Response(body=f'<!doctype html><meta charset="{charset}"><p>{WORDS}'.encode(charset), headers=headers)

    async def _validated(self, request: web.Request) -> web.Response:
        """Has an ETag; what is confirmed is counted apart, as `304 PATH`."""
        if request.headers.get("If-None-Match") == ETAG:
            self.hits[f"304 {request.path_qs}"] += 1
            return web.Response(status=304, headers={"ETag": ETAG, "X-Confirmed": "yes"})
        self._note(request)
        await asyncio.sleep(float(request.query.get("seconds", "0")))
        return web.Response(body=page(request.match_info["key"]), headers={"ETag": ETAG, **HTML})

    async def _robots(self, request: web.Request) -> web.Response:
        """The robots.txt of the port, counted as `PORT/robots.txt`."""
        port = _port(request)
        self.hits[f"{port}/robots.txt"] += 1
        self.headers[f"{port}/robots.txt"] = dict(request.headers)
        status, text = self.robots.get(port, (404, ""))
        return web.Response(status=status, text=text)

    async def _set_robots(self, request: web.Request) -> web.Response:
        rules = await request.json()
        self.robots[int(request.match_info["port"])] = (rules["status"], rules["text"])
        return web.Response(status=204)

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


def _port(request: web.Request) -> int:
    """The port that the request came in by."""
    assert request.transport is not None
    return int(request.transport.get_extra_info("sockname")[1])


def page(key: str) -> bytes:
    """The bytes of a page: unlike those of any other key."""
    return f"<!doctype html><title>{key}</title><p>ünïcode and {key}\r\n".encode()


def noise(count: int) -> bytes:
    """So many bytes that do not compress, the same for the same count."""
    return Random(count).randbytes(count)


@asynccontextmanager
async def serve_website(address: str, ports: Sequence[int] = (0,)) -> AsyncIterator[list[int]]:
    """The website at an address; yields its ports, a free one for each 0."""
    app = web.Application()
    app.add_routes(Website().routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for port in ports:
            await web.TCPSite(runner, address, port).start()
        yield [int(bound[1]) for bound in runner.addresses]
    finally:
        await runner.cleanup()


async def _serve_for_ever(address: str, ports: Sequence[int]) -> None:
    async with serve_website(address, ports):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_for_ever(sys.argv[1], [int(port) for port in sys.argv[2:]]))
