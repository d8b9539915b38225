"""The played gateway's feed: by SSE to whoever accepts it, else in pages."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from played_answers import abort, problem

PAGE_EVENTS = 2
IDLE_LIMIT_SECONDS = 20


@dataclass(slots=True, kw_only=True)
class PlayedFeed:
    """Events in order; cursors are their numbers, from 1. Each of the next connections breaks after `breaks` many events."""

    events: list[dict[str, Any]] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    refusals: int = 0
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *urls: str) -> None:
        """Note that fetches have finished."""
        for url in urls:
            data = {"id": f"id-of-{url}", "url": url, "status": "succeeded"}
            self.events.append({"id": str(len(self.events) + 1), "type": "fetch.finished.v1", "data": data})

    def routes(self) -> list[web.RouteDef]:
        """What it answers to."""
        return [web.get("/v1/events", self.tell)]

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """Everything after the place that is asked for."""
        resuming, after = request.headers.get("Last-Event-ID"), request.query.get("after")
        self.asked.append((resuming, after))
        if self.refusals:
            self.refusals -= 1
            return problem(503, "The ledger cannot be asked right now")
        if after == "nonsense":
            return problem(422, "The request is not valid")
        place = int(resuming or after or "0")
        if "text/event-stream" not in request.headers.get("Accept", ""):
            items = self.events[place : place + PAGE_EVENTS]
            return web.json_response({"items": items, "next_cursor": items[-1]["id"] if items else after})
        return await self._stream(request, place)

    async def _stream(self, request: web.Request, place: int) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b": hello\nretry: 10\n\n")
        left = self.breaks.pop(0) if self.breaks else None
        for event in self.events[place:]:
            if left == 0:
                return abort(request)
            left = None if left is None else left - 1
            text = f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
            await answer.write(text.encode())
        async with asyncio.timeout(IDLE_LIMIT_SECONDS):
            await self.has_ended.wait()
        return answer
