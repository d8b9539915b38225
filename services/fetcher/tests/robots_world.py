"""Around the gate of robots.txt: an origin and a store that answer as told, and a clock that stands still.

`StoreApi` stands in for the store's `/internal/v1/robots`. It keeps to the contract (200 with a RobotsFile, expired or not, 404,
204, the newest kept, bearer token); the store's own tests and tests/integration hold the real one to the same.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from common.contracts.fetches import RobotsEvidence
from common.contracts.robots import RobotsFile
from common.urls import Target, read_url

from fetcher.egress.evidence import EvidenceLog
from fetcher.politeness.robots import RobotsGate

PRIVATE = "User-agent: *\nDisallow: /private # keep out\nCrawl-delay: 2"


class Moment:
    """A clock that stands still until the test moves it."""

    now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class StoreApi:
    """The store's door for robots.txt files, in memory. With a `gate`, it answers nothing before that is set."""

    files: dict[str, RobotsFile] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int | None = None
    gate: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.method)
        if self.gate is not None:
            await self.gate.wait()
        if self.status is not None or request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=self.status or 401)
        if request.method == "PUT":
            if request.content_type != "application/json":
                return web.Response(status=415)
            file = RobotsFile.model_validate_json(await request.read())
            kept = self.files.get(file.origin)
            if kept is None or (kept.fetched_at, kept.expires_at) < (file.fetched_at, file.expires_at):
                self.files[file.origin] = file
            return web.Response(status=204)
        found = self.files.get(request.query["origin"])
        return web.json_response(text=found.model_dump_json()) if found else web.Response(status=404)


@dataclass
class Site:
    """An origin whose robots.txt answers as told, and counts. With a `gate`, it answers nothing before that is set."""

    base: str = ""
    status: int = 200
    body: bytes = PRIVATE.encode()
    headers: dict[str, str] = field(default_factory=dict)
    visits: int = 0
    gate: asyncio.Event | None = None

    async def answer(self, _request: web.Request) -> web.Response:
        self.visits += 1
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(status=self.status, body=self.body, headers={"Content-Type": "text/plain"} | self.headers)

    def at(self, path: str) -> Target:
        return at(self.base + path)


def at(url: str) -> Target:
    target = read_url(url)
    assert isinstance(target, Target)
    return target


async def check(gate: RobotsGate, target: Target) -> RobotsEvidence:
    return await gate.check(target, log=EvidenceLog())


def count(gate: Any, source: str, result: str) -> float | None:
    return gate.registry.get_sample_value("fetchwork_robots_lookups_total", {"source": source, "result": result})
