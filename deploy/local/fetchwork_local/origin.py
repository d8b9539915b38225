"""The demo origin: a small website that changes, so that a first fetch needs no one else's.

Bound to a loopback address of its own: allowing it as a target opens no door to what listens on 127.0.0.1.
"""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import count

from aiohttp import web

SLOW_LIMIT_SECONDS = 30.0
BYTES_LIMIT = 10_000_000
REDIRECT_LIMIT = 50

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Fetchwork demo origin</title></head>
<body>
<h1>Fetchwork demo origin</h1>
<p>This site runs inside <code>fetchwork up</code>, to be fetched. Nothing outside your machine is involved.</p>
<p>This is visit {visit}. The time is <time>{now}</time>.</p>
<ul>
<li><a href="/slow?seconds=2">/slow?seconds=N</a> answers after N seconds, at most 30.</li>
<li><a href="/status/404">/status/CODE</a> answers with that status.</li>
<li><a href="/bytes/1000">/bytes/N</a> sends N bytes, always the same, at most 10,000,000.</li>
<li><a href="/redirect/3">/redirect/N</a> redirects N times, at most 50, then comes back here.</li>
<li><a href="/robots.txt">/robots.txt</a> forbids <a href="/private">/private</a>: a fetch of it ends as refused_robots.</li>
</ul>
</body>
</html>
"""
ROBOTS = """\
# Of the demo origin, for robots (RFC 9309). A fetch with "robots": "ignore" does not ask.
User-agent: *
Disallow: /private
"""

VISITS = web.AppKey("VISITS", count)
routes = web.RouteTableDef()


def create_app() -> web.Application:
    """The site, with nobody having visited yet."""
    app = web.Application()
    app[VISITS] = count(1)
    app.add_routes(routes)
    return app


@routes.get("/")
async def show_home(request: web.Request) -> web.Response:
    """A page that says what this is, and is different each time."""
    visits = request.app[VISITS]
    page = PAGE.format(visit=next(visits), now=datetime.now(UTC).isoformat(timespec="seconds"))
    return web.Response(text=page, content_type="text/html", headers={"Cache-Control": "no-store"})


@routes.get("/slow")
async def answer_slowly(request: web.Request) -> web.Response:
    """Wait for `seconds`, then answer."""
    try:
        seconds = min(max(float(request.query.get("seconds", "1")), 0.0), SLOW_LIMIT_SECONDS)
    except ValueError as error:
        raise web.HTTPBadRequest(text="seconds is not a number\n") from error
    await asyncio.sleep(seconds)
    return web.Response(text=f"This took {seconds:g} s.\n")


@routes.get(r"/status/{code:[2-5]\d\d}")
async def answer_status(request: web.Request) -> web.Response:
    """Answer with the status that the path names."""
    return web.Response(status=int(request.match_info["code"]), text=f"status {request.match_info['code']}\n")


@routes.get(r"/bytes/{size:\d{1,8}}")
async def send_bytes(request: web.Request) -> web.Response:
    """Send as many bytes as the path names: 0 to 255, again and again."""
    size = int(request.match_info["size"])
    if size > BYTES_LIMIT:
        raise web.HTTPNotFound(text=f"at most {BYTES_LIMIT} bytes\n")
    return web.Response(body=(bytes(range(256)) * (size // 256 + 1))[:size], content_type="application/octet-stream")


@routes.get(r"/redirect/{times:\d{1,2}}")
async def redirect(request: web.Request) -> web.Response:
    """Redirect as often as the path names, then to the home page."""
    times = min(int(request.match_info["times"]), REDIRECT_LIMIT)
    raise web.HTTPFound(f"/redirect/{times - 1}" if times > 1 else "/")


@routes.get("/robots.txt")
async def show_robots(_: web.Request) -> web.Response:
    """Forbid one page, so that refusing it can be seen. A change of it is seen after ten minutes, not after a day."""
    return web.Response(text=ROBOTS, headers={"Cache-Control": "max-age=600"})


@routes.get("/private")
async def show_private(_: web.Request) -> web.Response:
    """The page that robots.txt forbids."""
    return web.Response(text="robots.txt asked you not to come here\n")


def main() -> None:
    """Serve on the address and port named as arguments until a signal."""
    address, port = sys.argv[1:]
    web.run_app(create_app(), host=address, port=int(port), print=lambda *_: None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
