"""The played gateway's feed: by SSE to whoever accepts it, else in pages."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from played_answers import abort, problem

PAGE_EVENTS = 2
IDLE_LIMIT_SECONDS = 20
BREAK_AT_ONCE = -1
"""Break before even a cursor was sent."""


@dataclass(slots=True, kw_only=True)
class PlayedFeed:
    """Events in order; cursors are their numbers, from 1. Each of the next connections breaks after `breaks` many events.

    Before `oldest` nothing is kept. The next `empty_pages` pages have nothing for the caller, and a cursor that goes on.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    refusals: int = 0
    added_at_break: list[str] = field(default_factory=list)
    oldest: int = 0
    empty_pages: int = 0
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *urls: str) -> None:
        """Note that fetches have finished."""
        for url in urls:
            data = {"id": f"id-of-{url}", "url": url, "status": "succeeded"}
            head = {"id": f"event-{len(self.events) + 1}", "type": "fetch.finished.v1", "time": "2026-11-24T04:30:02Z"}
            self.events.append({**head, "data": data})

    def routes(self) -> list[web.RouteDef]:
        """What it answers to."""
        return [web.get("/v1/events", self.tell)]

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """Everything after the place that is asked for."""
        resuming, after = request.headers.get("Last-Event-ID"), request.query.get("after")
        self.asked.append((resuming, after))
        self.queries.append(dict(request.query))
        if self.refusals:
            self.refusals -= 1
            return problem(503, "The feed cannot be read right now")
        if after == "nonsense":
            return problem(400, "The cursor does not belong to this list")
        place = int(resuming or after or len(self.events))
        gap = str(self.oldest) if place < self.oldest else None
        place = max(place, self.oldest)
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await self._stream(request, place, gap)
        if self.empty_pages:
            self.empty_pages -= 1
            return web.json_response({"items": [], "next_cursor": str(place + 1), "gap": None})
        items = self.events[place : place + PAGE_EVENTS]
        return web.json_response({"items": items, "next_cursor": str(place + len(items)), "gap": gap})

    async def _stream(self, request: web.Request, place: int, gap: str | None) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"retry: 10\n\n: ping\n\n")
        left = self.breaks.pop(0) if self.breaks else None
        if left == BREAK_AT_ONCE:
            return abort(request)
        await answer.write(f"id: {place}\n\n".encode())
        if gap is not None:
            await answer.write(f'event: gap\ndata: {{"oldest":"{gap}"}}\n\n'.encode())
        if left == 0:
            self.add(*self.added_at_break)
            return abort(request)
        for number, event in enumerate(self.events[place:], place + 1):
            if left == 0:
                return abort(request)
            left = None if left is None else left - 1
            text = f"id: {number}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
            await answer.write(text.encode())
        async with asyncio.timeout(IDLE_LIMIT_SECONDS):
            await self.has_ended.wait()
        return answer
