"""Origins on many ports that note when each request came and when its answer left, on one clock.

An arrival is noted late rather than early and an end early rather than late, by what this process needs to look: a gap that
looks too short was too short.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request. `ended` is infinite while it is answered."""

    path: str
    arrived: float
    ended: float = float("inf")
    status: int = 0


@dataclass(slots=True, kw_only=True)
class TimedHost:
    """One port: how it answers, and what it saw. `slow_down_at` is the page, counted from 1, that is refused with a 429."""

    name: str
    response_seconds: float = 0.05
    crawl_delay_seconds: float = 0.0
    slow_down_at: int = 0
    retry_after_seconds: int = 0
    pages: int = 0
    exchanges: list[Exchange] = field(default_factory=list)

    def url(self, page: object) -> str:
        """The URL of a page."""
        return f"http://{self.name}/{page}"

    def since(self, moment: float) -> list[Exchange]:
        """What came from then on, in the order of arrival."""
        return [exchange for exchange in self.exchanges if exchange.arrived >= moment]

    def robots_txt(self) -> web.Response:
        """With the delay that it asks for; without one there is no file."""
        if not self.crawl_delay_seconds:
            return web.Response(status=404)
        return web.Response(text=f"User-agent: *\nCrawl-delay: {self.crawl_delay_seconds:g}\n")

    async def page(self) -> web.Response:
        """After the usual time; the refused one at once."""
        self.pages += 1
        if self.pages == self.slow_down_at:
            return web.Response(status=429, headers={"Retry-After": str(self.retry_after_seconds)})
        await asyncio.sleep(self.response_seconds)
        return web.Response(text="here you are\n")


class TimedOrigins:
    """All the hosts, by port."""

    def __init__(self) -> None:
        self.hosts: dict[int, TimedHost] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """Any request on any port."""
        assert request.transport is not None
        host = self.hosts[int(request.transport.get_extra_info("sockname")[1])]
        exchange = Exchange(path=request.path, arrived=time.monotonic())
        host.exchanges.append(exchange)
        status = 0
        try:
            response = host.robots_txt() if request.path == "/robots.txt" else await host.page()
            status = response.status
            return response
        finally:
            exchange.ended, exchange.status = time.monotonic(), status


@asynccontextmanager
async def serve_timed_hosts(address: str, count: int) -> AsyncIterator[Sequence[TimedHost]]:
    """So many hosts on free ports of an address."""
    origins = TimedOrigins()
    app = web.Application()
    app.router.add_get("/{anything:.*}", origins.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        for _ in range(count):
            await web.TCPSite(runner, address, 0).start()
        for _, port in runner.addresses:
            origins.hosts[port] = TimedHost(name=f"{address}:{port}")
        yield list(origins.hosts.values())
    finally:
        await runner.cleanup()
