"""The feed: what happened, in order, as one endless iterator that goes on after every break."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

import httpx2

from fetchwork._calls import Calls
from fetchwork._errors import FetchworkError, GatewayUnreachable
from fetchwork._event_models import GAP, Event, EventPage
from fetchwork._patience import Outage
from fetchwork._transport import read

OLDEST = "0"
"""The cursor before everything that is kept."""
SILENCE_LIMIT_SECONDS = 60.0
"""The gateway pings every 15 seconds. Without a byte for so long the connection is dead."""
RECONNECT_SECONDS = 1.0
"""The pause between two connections, unless the gateway asks for another."""
RECONNECT_LIMIT_SECONDS = 30.0
PAGE_EVENTS = 1000
EMPTY_PAGES = 10
"""Pages without an event for us, one after another, at which we take the feed for read: others' events go on coming."""


class EventCalls(Calls):
    """What can be done with the feed."""

    async def events(
        self, *, after: str | None = None, label: str | None = None, batch_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events behind the cursor `after`, or from now on, for ever; a broken connection is taken up where it ended.

        An event of the type "gap" says that some are not kept any more. A gateway that cannot be reached is borne for a
        minute. Close the iterator (contextlib.aclosing) to stop early. Raises FetchworkError.
        """
        outage = Outage()
        place, pause = after, RECONNECT_SECONDS
        while True:
            delay = pause
            try:
                async with self._open(place, _filters(label, batch_id), is_first=place == after) as answer:
                    outage.end()
                    async for sent in httpx2.EventSource(answer):
                        place = sent.id or place
                        if sent.retry is not None:
                            pause = min(sent.retry / 1000, RECONNECT_LIMIT_SECONDS)
                        if sent.data:
                            yield _event(sent, place or "")  # noqa: ASYNC119 - an iterator is what a feed is; see above
            except FetchworkError as error:
                delay = max(pause, outage.pause_seconds(error))
            await asyncio.sleep(delay)

    async def past_events(
        self, *, after: str = OLDEST, label: str | None = None, batch_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events behind the cursor `after`, or all that are kept, up to now. Raises FetchworkError."""
        place, empty = after, 0
        while empty < EMPTY_PAGES:
            page = await self.read_events(after=place, label=label, batch_id=batch_id)
            for event in _events(page, place):
                yield event
            if page.next_cursor == place:
                return
            empty = 0 if page.items else empty + 1
            place = page.next_cursor

    async def read_events(
        self,
        *,
        after: str | None = None,
        label: str | None = None,
        batch_id: str | None = None,
        limit: int = PAGE_EVENTS,
        wait_seconds: int = 0,
    ) -> EventPage:
        """One page of events behind the cursor `after`, for whose first the gateway waits a while. Raises FetchworkError.

        Without `after` it is empty, and its cursor is now. An empty page has a cursor to go on from, too.
        """
        place = {"after": after} if after else {}
        query = {**_filters(label, batch_id), **place, "limit": str(limit), "wait": str(wait_seconds)}
        return read(EventPage, await self._transport.call("GET", "/v1/events", params=query, reading_seconds=wait_seconds))

    def _open(
        self, place: str | None, filters: Mapping[str, str], *, is_first: bool
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        """A connection to the feed; all but the first say where the one before broke off, as browsers do."""
        starting = {"after": place} if place and is_first else {}
        resuming = {"Last-Event-ID": place} if place and not is_first else {}
        return self._transport.open(
            "GET",
            "/v1/events",
            params={**filters, **starting},
            headers={"Accept": "text/event-stream", **resuming},
            timeout=httpx2.Timeout(self._transport.timeout_seconds, read=SILENCE_LIMIT_SECONDS),
        )


def _filters(label: str | None, batch_id: str | None) -> dict[str, str]:
    given = {"label": label, "batch_id": batch_id}
    return {name: value for name, value in given.items() if value is not None}


def _event(sent: httpx2.ServerSentEvent, place: str) -> Event:
    try:
        return Event(cursor=place, type=sent.event, document=json.loads(sent.data))
    except ValueError as error:
        raise GatewayUnreachable("the feed does not hold what a Fetchwork gateway would send") from error


def _events(page: EventPage, place: str) -> Iterator[Event]:
    """The events of a page. Only the last one is known to be right before the page's cursor."""
    if page.gap is not None:
        yield Event(cursor=place, type=GAP, document={"oldest": page.gap})
    for number, item in enumerate(page.items, 1):
        cursor = page.next_cursor if number == len(page.items) else place
        yield Event(cursor=cursor, type=str(item.get("type")), document=item)
