"""A real browser's EventSource reads the feed with a ticket, and comes back by itself where it was cut off."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from aiohttp import web
from browser import CHROMIUM
from common.streams.names import FEED_STREAM
from feed_words import begin, tell_many, wait_until
from redis.asyncio import Redis

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PAGE = """<!doctype html><meta charset="utf-8"><title>feed</title><script>
let telling = Promise.resolve();
const tell = (kind, event) => telling = telling.then(() => fetch("/seen", {method: "POST", body: JSON.stringify(
    {kind, id: event.lastEventId, subject: event.data ? JSON.parse(event.data).subject : null})}));
const source = new EventSource("URL");
for (const kind of ["open", "error", "message", "gap", "fetch.finished.v1"])
    source.addEventListener(kind, event => tell(kind, event));
</script>"""


@dataclass
class Site:
    """A page and the API on one origin, as a deployment has them: the API allows no other origin.

    `seen` is what the page was told, `asked` the `Last-Event-ID` of each stream that the browser asked for.
    """

    gateway_url: str
    page: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    streams: list[web.Request] = field(default_factory=list)

    def subjects(self) -> list[str]:
        """The events that the page was told of."""
        return [told["subject"] for told in self.seen if told["kind"] == "fetch.finished.v1"]

    def cut(self) -> None:
        """Break the browser's stream without a word."""
        transport = self.streams[-1].transport
        assert transport is not None
        transport.abort()  # type: ignore[attr-defined]

    async def show(self, request: web.Request) -> web.Response:
        """The page."""
        return web.Response(text=self.page, content_type="text/html")

    async def note(self, request: web.Request) -> web.Response:
        """What the page was told."""
        self.seen.append(await request.json())
        return web.Response(status=204)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """The gateway's answer, as it comes."""
        self.asked.append(request.headers.get("Last-Event-ID"))
        self.streams.append(request)
        headers = {name: request.headers[name] for name in ("Accept", "Last-Event-ID") if name in request.headers}
        timeout = aiohttp.ClientTimeout(total=60)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self.gateway_url}{request.path_qs}", headers=headers) as answer,
        ):
            sent = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            await sent.prepare(request)
            async for chunk in answer.content.iter_any():
                await sent.write(chunk)
            return sent


@asynccontextmanager
async def _serving(site: Site) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/", site.show), web.post("/seen", site.note), web.get("/v1/{rest:.*}", site.forward)])
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@asynccontextmanager
async def _browsing(url: str, folder: Path) -> AsyncIterator[None]:
    assert CHROMIUM is not None
    with (folder / "browser.log").open("wb") as log:
        browser = await asyncio.create_subprocess_exec(
            CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", url, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        browser.send_signal(signal.SIGTERM)
        await asyncio.wait_for(browser.wait(), 15)


# Nothing else is an EventSource of a browser; CI installs one where it can.
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
async def test_a_browser_reads_the_feed_and_comes_back(
    client: httpx2.AsyncClient, gateway: Any, events: Redis, tmp_path: Path
) -> None:
    await begin(events, client)
    site = Site(gateway.url)
    site.page = PAGE.replace("URL", (await client.post("/v1/events/tickets")).json()["url"])
    async with _serving(site) as url, _browsing(url, tmp_path):
        await wait_until(lambda: [told["kind"] for told in site.seen] == ["open"])
        told = await tell_many(events, 5)
        await tell_many(events, 2, tenant="other")
        await wait_until(lambda: site.subjects() == told)
        last = site.seen[-1]["id"]
        site.cut()
        told += await tell_many(events, 5)
        await wait_until(lambda: len(site.subjects()) >= 10)
    ids = [entry_id.decode() for entry_id, _ in await events.xrange(FEED_STREAM)]
    assert site.subjects() == told and last == ids[5]
    assert site.asked == [None, last]
    assert [told["kind"] for told in site.seen if told["subject"] is None] == ["open", "error", "open"]
