"""Accept many fetches at once, as a gateway does: its own publisher, some fetches in an event."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from urllib.parse import urlsplit
from uuid import UUID

from common.clock import utc_now
from common.contracts.fetches import AcceptedFetch, FetchRequest
from common.ids import new_fetch_id
from common.streams.connection import connect_redis
from common.streams.names import INGESTING_HASH
from fetchwork_local.stack import Stack
from fetchwork_local.state import recall
from fetchwork_local.valkey import redis_url
from gateway.promises.publish import Publisher
from redis.asyncio import Redis

FETCHES_IN_AN_EVENT = 10
"""The store takes in 200 events in a transaction, which with many more would last longer than a statement may."""
EVENTS_AT_ONCE = 100
INGESTING_LIMIT = 10**6
TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.1


async def accept_in_bulk(stack: Stack, requests: Iterable[FetchRequest]) -> list[UUID]:
    """Promise all of them, with their promises on disk when it returns; their ids in order."""
    redis = _events_redis(stack)
    publisher = Publisher(
        redis, source="gateway/bulk", clock=utc_now, ingesting_limit=INGESTING_LIMIT, timeout_seconds=TIMEOUT_SECONDS
    )
    publishing = asyncio.create_task(publisher.run())
    ids: list[UUID] = []
    try:
        events = _events(requests)
        while together := list(islice(events, EVENTS_AT_ONCE)):
            await asyncio.gather(*(publisher.publish(event, traceparent=None) for event in together))
            ids += [fetch.id for event in together for fetch in event]
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await redis.aclose()
    return ids


async def wait_until_ingested(stack: Stack, *, seconds: float) -> None:
    """Return once the ledger has all that was promised. Raises TimeoutError."""
    redis = _events_redis(stack)
    try:
        async with asyncio.timeout(seconds):
            while await redis.hlen(INGESTING_HASH):
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await redis.aclose()


def _events_redis(stack: Stack) -> Redis:
    state = recall(stack.home)
    assert state is not None
    return connect_redis(redis_url(port=state.ports.events, password=state.secrets.events_password))


def _events(requests: Iterable[FetchRequest]) -> Iterator[list[AcceptedFetch]]:
    rest = iter(requests)
    while some := list(islice(rest, FETCHES_IN_AN_EVENT)):
        now = utc_now()
        yield [
            AcceptedFetch(id=new_fetch_id(), host=urlsplit(request.url).netloc, accepted_at=now, request=request)
            for request in some
        ]
