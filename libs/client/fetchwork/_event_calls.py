"""The feed: what happened, in order, as one endless iterator that goes on after every break."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

import httpx2

from fetchwork._calls import Calls
from fetchwork._errors import FetchworkError, GatewayUnreachable
from fetchwork._event_models import Event, EventPage
from fetchwork._patience import Outage
from fetchwork._transport import read

SILENCE_LIMIT_SECONDS = 60.0
"""The gateway sends a comment now and then. Without a byte for so long the connection is dead."""
RECONNECT_SECONDS = 1.0
"""The pause between two connections, unless the gateway asks for another."""
RECONNECT_LIMIT_SECONDS = 30.0


class EventCalls(Calls):
    """What can be done with the feed."""

    async def events(self, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Events after the cursor `after`, or from now on, for ever; a broken connection is taken up where it ended.

        A gateway that cannot be reached is borne for a minute. Close the iterator (contextlib.aclosing) to stop early.
        Raises FetchworkError.
        """
        outage = Outage()
        place, pause = "", RECONNECT_SECONDS
        while True:
            try:
                async with self._open(after=after, place=place) as answer:
                    outage.end()
                    async for sent in httpx2.EventSource(answer):
                        place = sent.id or place
                        if sent.retry is not None:
                            pause = min(sent.retry / 1000, RECONNECT_LIMIT_SECONDS)
                        if sent.data:
                            yield _event(sent, place)  # noqa: ASYNC119 - an iterator is what a feed is; see above
                delay = pause
            except FetchworkError as error:
                delay = max(pause, outage.pause_seconds(error))
            await asyncio.sleep(delay)

    async def past_events(self, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Events after the cursor `after` that have happened by now. Raises FetchworkError."""
        place = after
        while True:
            query = {"wait": "0", **({"after": place} if place else {})}
            page = read(EventPage, await self._transport.call("GET", "/v1/events", params=query))
            for item in page.items:
                yield Event(cursor=str(item.get("cursor") or item.get("id")), type=str(item.get("type")), document=item)
            if not page.items or not page.next_cursor or page.next_cursor == place:
                return
            place = page.next_cursor

    def _open(self, *, after: str | None, place: str) -> AbstractAsyncContextManager[httpx2.Response]:
        """A connection to the feed: the first from `after`, the others from where the one before broke off."""
        resuming = {"Last-Event-ID": place} if place else {}
        return self._transport.open(
            "GET",
            "/v1/events",
            params={"after": after} if after and not place else {},
            headers={"Accept": "text/event-stream", **resuming},
            timeout=httpx2.Timeout(self._transport.timeout_seconds, read=SILENCE_LIMIT_SECONDS),
        )


def _event(sent: httpx2.ServerSentEvent, place: str) -> Event:
    try:
        document = json.loads(sent.data)
    except ValueError as error:
        raise GatewayUnreachable("the feed does not hold what a Fetchwork gateway would send") from error
    return Event(cursor=place, type=sent.event, document=document if isinstance(document, dict) else {"data": document})
