"""The played gateway's batches. The same idempotency key makes the same ids; what goes wrong is set by a test."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from aiohttp import web
from played_answers import abort, problem
from played_gateway import PlayedGateway, read_line


@dataclass(slots=True, kw_only=True)
class PlayedBatches:
    """Batches by id. `broken_uploads` names after how many lines each of the next uploads breaks off; `lines` is what came last.

    `busy` and `in_flight` are refusals yet to come, `broken_looks` looks that get no answer. While `is_held`, none finishes.
    """

    gateway: PlayedGateway
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    submissions: list[str] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    pieces: int = 0
    broken_uploads: list[int] = field(default_factory=list)
    busy: int = 0
    in_flight: int = 0
    broken_looks: int = 0
    is_held: bool = False
    looks: Counter[str] = field(default_factory=Counter)
    was_looked_at: asyncio.Event = field(default_factory=asyncio.Event)
    has_received: asyncio.Event = field(default_factory=asyncio.Event)

    def routes(self) -> list[web.RouteDef]:
        """What it answers to."""
        return [web.post("/v1/batches", self.accept), web.get("/v1/batches/{id}", self.show)]

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Promise every line that is one."""
        key = request.headers["Idempotency-Key"]
        self.submissions.append(key)
        if self.busy:
            self.busy -= 1
            return problem(429, "The API key has used up its quota", headers={"Retry-After": "0"})
        if self.in_flight:
            self.in_flight -= 1
            return problem(409, "Still under way", type="/problems/idempotency-key-in-flight", headers={"Retry-After": "0"})
        batch_id = str(uuid5(NAMESPACE_URL, key))
        if batch_id in self.documents:
            return web.json_response(self._accepted(batch_id), status=202, headers={"Idempotency-Replayed": "true"})
        if request.content_type != "application/x-ndjson":
            return problem(415, "The body's media type is not supported")
        if not await self._read(request, breaking_at=self.broken_uploads.pop(0) if self.broken_uploads else None):
            return abort(request)
        errors = [error for number, line in enumerate(self.lines, 1) if (error := self._take(batch_id, number, line))]
        accepted = len([fetch for fetch in self.gateway.documents.values() if fetch["batch_id"] == batch_id])
        self.documents[batch_id] = {"id": batch_id, "total": accepted, "rejected": len(errors), "errors": errors}
        return web.json_response(self._accepted(batch_id), status=202)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Half done at first, then finished."""
        batch_id = request.match_info["id"]
        if batch_id not in self.documents:
            return problem(404, "There is nothing here")
        if self.broken_looks:
            self.broken_looks -= 1
            return abort(request)
        self.looks[batch_id] += 1
        self.was_looked_at.set()
        fetches = [
            self.gateway.document(identifier)
            for identifier, fetch in self.gateway.documents.items()
            if fetch["batch_id"] == batch_id
        ]
        is_finished = self.looks[batch_id] > 1 and not self.is_held
        done = fetches if is_finished else fetches[: len(fetches) // 2]
        counts = {**Counter(fetch["status"] for fetch in done), "queued": len(fetches) - len(done)}
        document = self.documents[batch_id]
        return web.json_response({**document, "errors": document["errors"][:100], "counts": counts, "finished": is_finished})

    async def _read(self, request: web.Request, *, breaking_at: int | None) -> bool:
        """Whether the upload came to its end."""
        self.lines, self.pieces, rest = [], 0, b""
        async for piece in request.content.iter_any():
            self.pieces += 1
            *lines, rest = (rest + piece).split(b"\n")
            self.lines += lines
            self.has_received.set()
            if breaking_at is not None and len(self.lines) >= breaking_at:
                return False
        self.lines += [rest] if rest else []
        return True

    def _take(self, batch_id: str, number: int, line: bytes) -> dict[str, Any] | None:
        asked = read_line(line)
        if asked is not None and "invalid" not in asked["url"]:
            self.gateway.promise(asked, identifier=str(uuid5(NAMESPACE_URL, f"{batch_id}/{number}")), batch_id=batch_id)
            return None
        faults = [{"detail": "Not a URL.", "pointer": "#/url"}]
        kind = {"type": "/problems/invalid-request", "title": "The request is not valid", "status": 422, "detail": "1 member."}
        return {"line": number, "problem": {**kind, "errors": faults}} if line else None

    def _accepted(self, batch_id: str) -> dict[str, Any]:
        document = self.documents[batch_id]
        return {"id": batch_id, "accepted": document["total"], "rejected": document["rejected"], "errors": document["errors"]}
