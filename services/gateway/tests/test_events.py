"""Events: in order, resumable, each tenant's own, as a stream and page by page."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from common.contracts.fetches import FetchFinished
from common.streams.names import FEED_STREAM
from feed_words import begin, catch_up, finished, stream, take, tell, tell_many
from gateway_words import assert_problem
from redis.asyncio import Redis


@pytest.fixture
async def start(client: httpx2.AsyncClient, events: Redis) -> str:
    """A cursor behind all that other tests told."""
    return await begin(events, client)


def _subjects(page: dict[str, Any]) -> list[str]:
    return [event["subject"] for event in page["items"]]


async def _page(client: httpx2.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get("/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_stream_is_what_the_store_wrote_under_its_cursor_and_type(
    client: httpx2.AsyncClient, events: Redis, start: str
) -> None:
    event = finished(url="http://a.test/ü\u2028", labels=("shop",))
    await tell(events, [event])
    async with client.sse("/v1/events", params={"after": start}) as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        assert source.response.headers["cache-control"] == "no-store"
        assert source.response.headers["x-accel-buffering"] == "no"
        sent = aiter(source)
        first = await anext(sent)
        assert (first.data, first.id, first.retry) == ("", start, 3000)
        (told,) = await take(sent, 1)
    _, (entry_id, _) = await events.xrange(FEED_STREAM)
    assert told.event == "fetch.finished.v1" and told.id == entry_id.decode()
    assert told.data == event.model_dump_json(exclude_none=True)
    assert FetchFinished.model_validate(told.json()["data"]) == event.data


async def test_a_stream_begins_now_behind_its_last_event_or_behind_a_cursor(
    client: httpx2.AsyncClient, events: Redis, start: str
) -> None:
    earlier = await tell_many(events, 3)
    cursors = [entry_id.decode() for entry_id, _ in (await events.xrange(FEED_STREAM))[1:]]
    await catch_up(events, client)
    async with stream(client) as fresh, stream(client, after=cursors[0]) as resumed:
        await anext(fresh)
        assert [event.json()["subject"] for event in await take(resumed, 2)] == earlier[1:]
        later = await tell_many(events, 2)
        assert [event.json()["subject"] for event in await take(fresh, 2)] == later
        assert [event.json()["subject"] for event in await take(resumed, 2)] == later
    async with stream(client, after=cursors[1]) as both:  # the header is where a client came back from
        assert (await take(both, 1))[0].json()["subject"] == earlier[2]


async def test_pages_by_the_same_cursor_are_all_there_is(client: httpx2.AsyncClient, events: Redis, start: str) -> None:
    told = await tell_many(events, 25)
    cursor, seen = start, []
    while len(seen) < len(told):
        page = await _page(client, after=cursor, limit=10, wait=9)
        assert 0 < len(page["items"]) <= 10
        seen += _subjects(page)
        cursor = page["next_cursor"]
    assert seen == told and page["gap"] is None
    assert await _page(client, after=cursor) == {"items": [], "next_cursor": cursor, "gap": None}
    async with stream(client, after=cursor) as resumed:
        await anext(resumed)
        (later,) = await tell_many(events, 1)
        assert (await take(resumed, 1))[0].json()["subject"] == later


async def test_a_page_waits_for_the_first_event_and_no_longer(client: httpx2.AsyncClient, events: Redis, start: str) -> None:
    loop = asyncio.get_running_loop()
    assert (await _page(client, wait=20))["next_cursor"] == start  # from now on: at once
    polling = asyncio.create_task(_page(client, after=start, wait=20))
    await tell_many(events, 1, tenant="other")
    began = loop.time()
    (told,) = await tell_many(events, 1)
    page = await polling
    assert _subjects(page) == [told] and loop.time() - began < 2
    began = loop.time()
    assert _subjects(await _page(client, after=page["next_cursor"], wait=1)) == []
    assert 0.9 < loop.time() - began < 5


async def test_tenants_see_their_own(client: httpx2.AsyncClient, events: Redis, start: str) -> None:
    """Another tenant's events are left out of streams and pages; those without a tenant are the default one's."""
    async with stream(client, after=start) as sent:
        await anext(sent)
        await tell_many(events, 3, tenant="other")
        mine = await tell_many(events, 1)
        old = finished()
        await events.xadd(FEED_STREAM, {b"event": old.model_dump_json(exclude_none=True).encode()})
        await tell_many(events, 3, tenant="other")
        assert [event.json()["subject"] for event in await take(sent, 2)] == [*mine, old.subject]
    page = await _page(client, after=start)
    assert _subjects(page) == [*mine, old.subject]
    assert (await _page(client, after=page["next_cursor"], wait=1))["items"] == []


async def test_labels_and_batches_choose(client: httpx2.AsyncClient, events: Redis, start: str) -> None:
    batch_id = uuid4()
    told = await tell(events, [finished(labels=("a", "b")), finished(labels=("a",), batch_id=batch_id), finished()])
    await catch_up(events, client)
    assert _subjects(await _page(client, after=start, label="a")) == told[:2]
    assert _subjects(await _page(client, after=start, batch_id=str(batch_id))) == [told[1]]
    assert _subjects(await _page(client, after=start, label="b", batch_id=str(batch_id))) == []
    async with stream(client, after=start, label="b") as sent:
        assert (await take(sent, 1))[0].json()["subject"] == told[0]


@pytest.mark.parametrize("cursor", ["x", "1-", "-1", "1-2-3", "1.5", "١", "18446744073709551616", "1 ", "9" * 4000])
async def test_a_malformed_cursor_is_named(client: httpx2.AsyncClient, cursor: str) -> None:
    assert_problem(await client.get("/v1/events", params={"after": cursor}), 400, "cursor-mismatch")
    if cursor.isascii() and cursor == cursor.strip():
        headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
        assert_problem(await client.get("/v1/events", headers=headers), 400, "cursor-mismatch")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("*/*", "application/json"), ("text/event-stream;q=0, */*", "application/json"), ("application/json", "application/json"),
     ("Text/Event-Stream", "text/event-stream"), ("application/json, text/event-stream;q=0.5", "text/event-stream")],
)
async def test_who_accepts_a_stream_is_sent_one(client: httpx2.AsyncClient, accept: str, media_type: str) -> None:
    async with client.stream("GET", "/v1/events", headers={"Accept": accept}) as answer:
        assert answer.headers["content-type"].startswith(media_type)
        assert "accept" in answer.headers["vary"].lower()


async def test_what_cannot_be_read_is_left_out(client: httpx2.AsyncClient, events: Redis, start: str) -> None:
    await events.xadd(FEED_STREAM, {b"event": b"{", b"tenant": b"default"})
    await events.xadd(FEED_STREAM, {b"event": b'{"type": "x.y.v1", "more": "\xff"}', b"tenant": b"default"})
    told = await tell_many(events, 1)
    assert _subjects(await _page(client, after=start)) == told
    async with stream(client, after=start) as sent:
        assert (await take(sent, 1))[0].json()["subject"] == told[0]
