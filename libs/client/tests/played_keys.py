"""The played gateway's API keys."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from played_answers import abort, problem


@dataclass(slots=True, kw_only=True)
class PlayedKeys:
    """Keys by id. A secret tells how often it was made anew."""

    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    idempotency_keys: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        """What it answers to."""
        return [
            web.post("/v1/keys", self.create),
            web.get("/v1/keys", self.list),
            web.get("/v1/keys/{id}", self.show),
            web.patch("/v1/keys/{id}", self.change),
            web.delete("/v1/keys/{id}", self.revoke),
            web.post("/v1/keys/{id}/rotate", self.rotate),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A key with its secret."""
        asked = await request.json()
        self.requests.append(asked)
        self.idempotency_keys.append(request.headers["Idempotency-Key"])
        if "broken" in asked["name"] and len(self.requests) <= 2:
            return abort(request)
        if "forbidden" in asked["name"]:
            return problem(403, "The API key may not do this")
        identifier = f"key{len(self.keys):09}"
        self.keys[identifier] = {"id": identifier, "tenant": "default", "limits": {}, **asked}
        return web.json_response({**self.keys[identifier], "secret": "secret-1"}, status=201)

    async def list(self, request: web.Request) -> web.Response:
        """One key a page."""
        found = [key for key in self.keys.values() if request.query.get("tenant") in (None, key["tenant"])]
        start = int(request.query.get("cursor", "0"))
        following = str(start + 1) if start + 1 < len(found) else None
        return web.json_response({"items": found[start : start + 1], "next_cursor": following})

    async def show(self, request: web.Request) -> web.Response:
        """One key."""
        key = self.keys.get(request.match_info["id"])
        return web.json_response(key) if key else problem(404, "There is nothing here")

    async def change(self, request: web.Request) -> web.Response:
        """Members that are given take the place of those that were."""
        asked = await request.json()
        self.requests.append(asked)
        self.keys[request.match_info["id"]].update(asked)
        return await self.show(request)

    async def rotate(self, request: web.Request) -> web.Response:
        """The next secret."""
        self.requests.append(await request.json())
        return web.json_response({**self.keys[request.match_info["id"]], "secret": "secret-2"})

    async def revoke(self, request: web.Request) -> web.Response:
        """The key as it is from now on."""
        self.revoked.append(request.match_info["id"])
        self.keys[request.match_info["id"]]["state"] = "revoked"
        return await self.show(request)
