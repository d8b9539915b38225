"""The feed as the store's relay writes it, and what tests read of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
from common.contracts.catalog import FETCH_FINISHED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchFinished, FetchStatus
from common.contracts.tenants import DEFAULT_TENANT
from common.ids import new_fetch_id
from common.streams.appender import Appender
from common.streams.feed import append_to_feed
from common.streams.names import FEED_STREAM
from redis.asyncio import Redis

NOW = datetime(2026, 7, 1, tzinfo=UTC)
WAIT_LIMIT_SECONDS = 15


def finished(fetch_id: UUID | None = None, *, url: str = "http://a.test/", **members: Any) -> Envelope[FetchFinished]:
    """The event of a fetch that succeeded."""
    data = FetchFinished(
        id=fetch_id or new_fetch_id(), url=url, status=FetchStatus.SUCCEEDED, finished_at=NOW, response_status=200, **members
    )
    return Envelope[FetchFinished].wrap(
        data, type=FETCH_FINISHED, source="store/t", subject=str(data.id), now=NOW, traceparent=None
    )


async def tell(redis: Redis, events: Sequence[Envelope[Any]], *, tenant: str = DEFAULT_TENANT) -> list[str]:
    """Append events as the relay does; returns their subjects."""
    told = [(event.model_dump_json(exclude_none=True).encode(), tenant) for event in events]
    await append_to_feed(Appender(redis, FEED_STREAM), told)
    return [event.subject for event in events]


async def tell_many(redis: Redis, count: int, *, tenant: str = DEFAULT_TENANT) -> list[str]:
    """Append so many events; returns their subjects."""
    return await tell(redis, [finished() for _ in range(count)], tenant=tenant)


async def begin(redis: Redis, client: httpx2.AsyncClient) -> str:
    """The cursor where a test begins: behind an entry of nobody, which the gateway has read. What was before is no more."""
    await redis.xadd(FEED_STREAM, {b"event": b"{}", b"tenant": b"nobody"})
    return await catch_up(redis, client)


async def catch_up(redis: Redis, client: httpx2.AsyncClient) -> str:
    """Wait until the gateway has read the whole feed; returns the cursor of its end."""
    ((entry_id, _),) = await redis.xrevrange(FEED_STREAM, count=1)
    async with asyncio.timeout(WAIT_LIMIT_SECONDS):
        while (await client.get("/v1/events")).json()["next_cursor"] != entry_id.decode():
            await asyncio.sleep(0.01)
    return str(entry_id.decode())


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition, with a limit."""
    async with asyncio.timeout(WAIT_LIMIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def stream(
    client: httpx2.AsyncClient, *, after: str | None = None, **query: str
) -> AsyncIterator[AsyncIterator[Any]]:
    """What a stream of events sends, from behind a cursor on."""
    headers = {"Last-Event-ID": after} if after is not None else {}
    async with client.sse("/v1/events", headers=headers, params=query) as source:
        yield aiter(source)


async def take(events: AsyncIterator[Any], count: int) -> list[Any]:
    """The next so many events that carry data."""
    taken: list[Any] = []
    async with asyncio.timeout(WAIT_LIMIT_SECONDS):
        async for event in events:
            if event.data:
                taken.append(event)
            if len(taken) == count:
                return taken
    raise AssertionError(f"the stream ended after {len(taken)} events")
