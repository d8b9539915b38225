"""A client's stream of events (server-sent events): pages of the feed as they come, pings between, and a clean end.

The format is HTML's (section 9.2 of its living standard), and FastAPI's functions write it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from common.streams.feed import StreamId
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Message, Send

from gateway.errors import FeedUnavailable
from gateway.feed.entries import Page, Selection
from gateway.feed.reader import Feed
from gateway.metrics import GatewayMetrics, StreamEnd

RECONNECT_MILLISECONDS = 3000
PAGE_ENTRIES = 100
UNAVAILABLE_SECONDS = 1.0
"""How long a stream waits before it asks for older entries again that Redis could not give."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPace:
    """How often a quiet stream pings, at which its caller is looked at again, and how long a client may take for a page."""

    ping_seconds: float
    send_timeout_seconds: float


class EventStream(EventSourceResponse):
    """The answer that streams from behind a cursor until the client leaves, lags too far, or is no longer let in."""

    def __init__(
        self, feed: Feed, *, after: StreamId, selection: Selection, is_let_in: Callable[[], bool], pace: StreamPace,
        metrics: GatewayMetrics,
    ) -> None:
        super().__init__(self._chunks(after), headers=HEADERS)
        self._feed = feed
        self._selection = selection
        self._is_let_in = is_let_in
        self._pace = pace
        self._metrics = metrics

    async def stream_response(self, send: Send) -> None:
        """Send pages, each within its time; a client that takes longer is let go."""
        reason = StreamEnd.CLIENT

        async def send_in_time(message: Message) -> None:
            nonlocal reason
            try:
                async with asyncio.timeout(self._pace.send_timeout_seconds):
                    await send(message)
            except TimeoutError:
                reason = StreamEnd.SLOW
                raise

        try:
            await super().stream_response(send_in_time)
            reason = StreamEnd.SHUTDOWN if self._feed.is_closing else StreamEnd.KEY
        except TimeoutError:
            if reason is not StreamEnd.SLOW:
                raise
        finally:
            self._metrics.stream_ends.labels(reason=reason).inc()

    async def _chunks(self, after: StreamId) -> AsyncIterator[bytes]:
        """What is sent: first where the stream begins, so that a client that is cut off at once can come back there."""
        clock = asyncio.get_running_loop().time
        look_at = clock() + self._pace.ping_seconds
        yield format_sse_event(id=str(after), retry=RECONNECT_MILLISECONDS)
        cursor = after
        while not self._feed.is_closing:
            if clock() >= look_at:
                if not self._is_let_in():
                    return
                look_at = clock() + self._pace.ping_seconds
                yield _ping(cursor)
            page = await self._page(cursor)
            cursor = page.cursor
            if page.gap is not None or page.entries:
                self._metrics.feed_entries_sent.inc(len(page.entries))
                yield self._write(page)
            else:
                cursor = await self._feed.arrival(
                    self._selection.tenant, after=cursor, timeout_seconds=max(0.0, look_at - clock())
                )

    async def _page(self, cursor: StreamId) -> Page:
        try:
            return await self._feed.page(cursor, selection=self._selection, limit=PAGE_ENTRIES)
        except FeedUnavailable:
            await asyncio.sleep(UNAVAILABLE_SECONDS)
            return Page(entries=[], cursor=cursor)

    def _write(self, page: Page) -> bytes:
        frames = [entry.frame for entry in page.entries]
        if page.gap is not None:
            self._metrics.feed_gaps.inc()
            frames.insert(0, format_sse_event(event="gap", data_str=f'{{"oldest":"{page.gap}"}}'))
        return b"".join(frames)


def _ping(cursor: StreamId) -> bytes:
    """A comment, and an id without data: browsers move their `Last-Event-ID` and tell the page nothing."""
    return format_sse_event(comment="ping", id=str(cursor))
