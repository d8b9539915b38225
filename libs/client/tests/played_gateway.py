"""A small real web server that plays the gateway. Which part it plays for a fetch is in the URL that is asked for."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web
from played_answers import abort, problem

API_KEY = "the-right-key"
PAGE_LIMIT = 100
SLOW_SECONDS = 0.5


@dataclass(slots=True, kw_only=True)
class PlayedGateway:
    """The gateway's memory of fetches, for a test to look into. `url` is where it listens."""

    url: str = ""
    fetches: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    posts: Counter[str] = field(default_factory=Counter)
    requests: list[dict[str, Any]] = field(default_factory=list)
    idempotency_keys: list[str] = field(default_factory=list)
    preferences: list[str | None] = field(default_factory=list)
    looks: Counter[str] = field(default_factory=Counter)
    was_looked_at: asyncio.Event = field(default_factory=asyncio.Event)
    lists: list[dict[str, str]] = field(default_factory=list)
    sound_contents: int = 0
    broken_contents: int = 0
    contents_sent: int = 0

    def routes(self) -> list[web.RouteDef]:
        """What it answers to."""
        return [
            web.post("/v1/fetches", self.accept),
            web.get("/v1/fetches", self.list),
            web.post("/v1/fetches:plan", self.plan),
            web.get("/v1/fetches/{id}", self.show),
            web.delete("/v1/fetches/{id}", self.cancel),
            web.post("/v1/fetches/{id}/retry", self.retry),
            web.get("/v1/fetches/{id}/content", self.send),
        ]

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Promise the fetch, unless its URL names a refusal."""
        asked = await request.json()
        url = asked["url"]
        self.posts[url] += 1
        self.requests.append(asked)
        self.idempotency_keys.append(request.headers["Idempotency-Key"])
        self.preferences.append(request.headers.get("Prefer"))
        if "invalid" in url:
            return problem(422, "The request is not valid", errors=[{"detail": "Not a URL.", "pointer": "#/url"}])
        if "overloaded" in url or ("busy" in url and self.posts[url] <= 2):
            return problem(503, "Fetches arrive faster than we take them in", headers={"Retry-After": "0"})
        if "patience" in url:
            return problem(503, "Closed for the day", headers={"Retry-After": "3600"})
        if "twice" in url and self.posts[url] <= 2:
            return problem(409, "Still under way", type="/problems/idempotency-key-in-flight", headers={"Retry-After": "0"})
        if "broken" in url and self.posts[url] <= 2:
            return abort(request)
        identifier = self.promise(asked)
        if request.headers.get("Prefer"):
            await asyncio.sleep(SLOW_SECONDS if "slow" in url else 0)
            self.looks[identifier] += 1
            return web.json_response(self.document(identifier))
        return web.json_response(self._document(identifier, "queued"), status=202)

    def promise(self, asked: dict[str, Any], *, identifier: str | None = None, batch_id: str | None = None) -> str:
        """Remember a fetch."""
        identifier = identifier or str(uuid4())
        self.fetches[identifier] = asked["url"]
        self.documents[identifier] = {"labels": asked.get("labels", []), "attrs": asked.get("attrs", {}), "batch_id": batch_id}
        return identifier

    async def show(self, request: web.Request) -> web.Response:
        """Queued at first; then whatever the URL names."""
        identifier = request.match_info["id"]
        if identifier not in self.fetches:
            return problem(404, "There is nothing here")
        self.looks[identifier] += 1
        self.preferences.append(request.headers.get("Prefer"))
        self.was_looked_at.set()
        return web.json_response(self._document(identifier, "queued") if self._is_new(identifier) else self.document(identifier))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel what never ends; the rest has ended."""
        identifier = request.match_info["id"]
        if identifier not in self.fetches:
            return problem(404, "There is nothing here")
        if "never" not in self.fetches[identifier]:
            return problem(409, "The fetch has already finished")
        return web.json_response(self._document(identifier, "cancelled"))

    async def retry(self, request: web.Request) -> web.Response:
        """The same once more."""
        identifier = request.match_info["id"]
        if identifier not in self.fetches:
            return problem(404, "There is nothing here")
        self.idempotency_keys.append(request.headers["Idempotency-Key"])
        return web.json_response(self._document(self.promise({"url": self.fetches[identifier]}), "queued"), status=202)

    async def list(self, request: web.Request) -> web.Response:
        """The newest first, as many as are asked for. A cursor is a place in that order."""
        asked = dict(request.query)
        self.lists.append(asked)
        if asked.get("status") == "nonsense":
            return problem(422, "The request is not valid", errors=[{"detail": "Not a status.", "parameter": "status"}])
        found = [self.document(identifier) for identifier in reversed(self.fetches)]
        found = [fetch for fetch in found if asked.get("status") in (None, fetch["status"])]
        found = [fetch for fetch in found if asked.get("batch_id") in (None, fetch["batch_id"])]
        start, size = int(asked.get("cursor", "0")), min(int(asked["limit"]), PAGE_LIMIT)
        following = str(start + size) if start + size < len(found) else None
        return web.json_response({"items": found[start : start + size], "next_cursor": following})

    async def plan(self, request: web.Request) -> web.Response:
        """Allow all that is not refused."""
        urls = (await request.json())["urls"]
        return web.json_response({"items": [_plan(url) for url in urls]})

    async def send(self, request: web.Request) -> web.StreamResponse:
        """The content; after `sound_contents` times broken off in the middle as often as `broken_contents` says."""
        self.contents_sent += 1
        if self.broken_contents and self.contents_sent > self.sound_contents:
            self.broken_contents -= 1
            started = web.StreamResponse(headers={"Content-Length": "5"})
            await started.prepare(request)
            await started.write(b"a\x00")
            return abort(request)
        return web.Response(body=b"a\x00b\nc", content_type="application/octet-stream")

    def document(self, identifier: str) -> dict[str, Any]:
        """The fetch as its URL wants it to end."""
        url = self.fetches[identifier]
        if "never" in url:
            return self._document(identifier, "running", waiting={"reason": "retry"})
        if "refused" in url:
            error = {"type": "connect", "detail": "Nobody \x1b[31mlistens."}
            return self._document(identifier, "failed", error=error)
        body = {} if "empty" in url else {"digest": "sha256:00", "size_bytes": 5}
        response = {"status": 200, "headers": {"x": "y"}, "media_type": "text/plain", "final_url": url, **body}
        kind = {"kind": "cache" if "cached" in url else "live", "fetch_id": identifier, "age_seconds": 12.3}
        return self._document(identifier, "succeeded", response=response, served_by=kind, new_member="kept")

    def _is_new(self, identifier: str) -> bool:
        return self.looks[identifier] == 1 and "never" not in self.fetches[identifier]

    def _document(self, identifier: str, status: str, **members: object) -> dict[str, Any]:
        links = {"self": f"/v1/fetches/{identifier}", "content": f"/v1/fetches/{identifier}/content"}
        about = {"id": identifier, "url": self.fetches[identifier], "status": status, "links": links}
        return {**about, **self.documents[identifier], **members}


def _plan(url: str) -> dict[str, Any]:
    if "refused" in url:
        return {"url": url, "normalized_url": None, "egress": {"verdict": "refuse", "reason": "deny_private"}}
    pace = {"rule": "default", "delay_ms": 0, "state": "banned" if "banned" in url else "open"}
    robots = {"verdict": "disallowed" if "disallowed" in url else "allowed", "line": "Allow: /"}
    facts = {"robots": robots, "pace": pace, "earliest_at": "2026-11-24T04:30:02Z"}
    return {"url": url, "normalized_url": url.lower(), "egress": {"verdict": "allow", "reason": "public"}, **facts}


@web.middleware
async def only_with_the_key(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuse whoever has not the right key, before the body is read."""
    if request.headers.get("Authorization") != f"Bearer {API_KEY}":
        return problem(401, "The API key is missing or wrong")
    answer: web.StreamResponse = await handler(request)
    return answer


def read_line(line: bytes) -> dict[str, Any] | None:
    """The fetch that one line of a batch asks for, None when it is none."""
    try:
        asked = json.loads(line)
    except ValueError:
        return None
    members = {"url": asked} if isinstance(asked, str) else asked
    return members if isinstance(members, dict) and str(members.get("url", "")).startswith("http") else None
