"""A small real web server that plays the gateway: which part it plays is in the URL that is asked for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

API_KEY = "the-right-key"


@dataclass(slots=True, kw_only=True)
class PlayedGateway:
    """The gateway's memory, for a test to look into. `url` is where it listens."""

    url: str = ""
    fetches: dict[str, str] = field(default_factory=dict)
    posts: Counter[str] = field(default_factory=Counter)
    requests: list[dict[str, Any]] = field(default_factory=list)
    idempotency_keys: list[str] = field(default_factory=list)
    looks: Counter[str] = field(default_factory=Counter)
    was_looked_at: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, request: web.Request) -> web.Response:
        """Promise the fetch, unless its URL names a refusal."""
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return problem(401, "The API key is missing or wrong")
        asked = await request.json()
        url = asked["url"]
        self.posts[url] += 1
        self.requests.append(asked)
        self.idempotency_keys.append(request.headers["Idempotency-Key"])
        if "invalid" in url:
            return problem(422, "The request is not valid", errors=[{"detail": "Not a URL.", "pointer": "#/url"}])
        if "overloaded" in url or ("busy" in url and self.posts[url] <= 2):
            return problem(503, "Fetches arrive faster than we take them in", headers={"Retry-After": "0"})
        if "patience" in url:
            return problem(503, "Closed for the day", headers={"Retry-After": "3600"})
        identifier = str(uuid4())
        self.fetches[identifier] = url
        return web.json_response(self._document(identifier, "queued"), status=202)

    async def show(self, request: web.Request) -> web.Response:
        """Queued at first; then whatever the URL names."""
        identifier = request.match_info["id"]
        if identifier not in self.fetches:
            return problem(404, "There is nothing here")
        self.looks[identifier] += 1
        self.was_looked_at.set()
        url = self.fetches[identifier]
        if "never" in url:
            return web.json_response(self._document(identifier, "running", waiting={"reason": "retry"}))
        if self.looks[identifier] == 1:
            return web.json_response(self._document(identifier, "queued"))
        if "refused" in url:
            error = {"type": "connect", "detail": "Nobody \x1b[31mlistens."}
            return web.json_response(self._document(identifier, "failed", error=error))
        body = {} if "empty" in url else {"digest": "sha256:00", "size_bytes": 5}
        response = {"status": 200, "headers": {"x": "y"}, "media_type": "text/plain", "final_url": url, **body}
        kind = {"kind": "cache" if "cached" in url else "live", "fetch_id": identifier, "age_seconds": 12.3}
        return web.json_response(
            self._document(identifier, "succeeded", response=response, served_by=kind, new_member="kept")
        )

    async def send(self, request: web.Request) -> web.Response:
        """The content."""
        return web.Response(body=b"a\x00b\nc", content_type="application/octet-stream")

    def _document(self, identifier: str, status: str, **members: object) -> dict[str, object]:
        links = {"self": f"/v1/fetches/{identifier}", "content": f"/v1/fetches/{identifier}/content"}
        return {"id": identifier, "url": self.fetches[identifier], "status": status, "links": links, **members}


def problem(status: int, title: str, *, headers: dict[str, str] | None = None, **members: object) -> web.Response:
    """A problem document as the gateway sends it."""
    document = {"type": "/problems/played", "title": title, "status": status, "detail": "Do better.", "trace_id": "t1", **members}
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    """A gateway that listens."""
    played = PlayedGateway()
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/fetches", played.accept),
            web.get("/v1/fetches/{id}", played.show),
            web.get("/v1/fetches/{id}/content", played.send),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.url = site.name if ":0" not in site.name else f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield played
    await runner.cleanup()


@pytest.fixture
def api_key() -> str:
    """The key that the gateway takes."""
    return API_KEY
