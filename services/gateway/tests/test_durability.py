"""P3: a Redis that does not fsync cannot keep a promise, so none is made on it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from common.clock import utc_now
from common.contracts.fetches import AcceptedFetch, FetchRequest
from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM
from gateway_words import make_stream
from redis.asyncio import Redis

from gateway.errors import EventsUnavailable
from gateway.promises.publish import Publisher


@pytest.fixture
async def publisher(events: Redis) -> AsyncIterator[Publisher]:
    """A publisher that has not looked at its Redis yet."""
    publisher = Publisher(events, source="gateway/test", clock=utc_now, ingesting_limit=10, timeout_seconds=5)
    running = asyncio.create_task(publisher.run())
    yield publisher
    running.cancel()


def _fetch() -> AcceptedFetch:
    return AcceptedFetch(id=new_fetch_id(), host="a.test", accepted_at=utc_now(), request=FetchRequest(url="http://a.test/"))


async def test_a_redis_that_fsyncs_always_is_trusted(publisher: Publisher, events: Redis) -> None:
    await publisher.check()
    await publisher.publish([_fetch()], traceparent=None)
    assert await events.xlen(ACCEPTED_STREAM) == 1


@pytest.mark.parametrize(("setting", "bad", "good"), [("appendfsync", "everysec", "always"), ("appendonly", "no", "yes")])
async def test_a_redis_that_may_forget_is_not(publisher: Publisher, events: Redis, setting: str, bad: str, good: str) -> None:
    await events.config_set(setting, bad)
    try:
        with pytest.raises(EventsUnavailable):
            await publisher.check()
        with pytest.raises(EventsUnavailable):
            await publisher.publish([_fetch()], traceparent=None)
    finally:
        await events.config_set(setting, good)
    assert not await events.xlen(ACCEPTED_STREAM)


async def test_a_redis_without_the_stream_takes_no_promise_and_keeps_nothing_of_it(publisher: Publisher, events: Redis) -> None:
    """As after a wipe, until a store has noted it, and on the first day until a store has been there."""
    await events.flushall()
    with pytest.raises(EventsUnavailable, match="no store has noted"):
        await publisher.publish([_fetch(), _fetch()], traceparent=None)
    assert await events.keys() == []
    await make_stream(events)
    await publisher.publish([_fetch()], traceparent=None)
    assert await events.xlen(ACCEPTED_STREAM) == 1
