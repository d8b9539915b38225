"""Streams and waits are bounded and take no place of requests that work; slow clients and shutdown end them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from common.clock import utc_now
from common.streams.feed import BEGINNING, FeedRecord, StreamId
from common.streams.names import FEED_STREAM, INGESTING_HASH
from feed_words import begin, finished, stream, take, tell, tell_many, wait_until
from fetchwork_local.ports import free_port
from gateway_lives import serving
from gateway_words import KEY, assert_problem
from little_store import TOKEN
from redis.asyncio import Redis
from starlette.types import Message

from gateway.app import create_app
from gateway.feed.entries import PAGE_BYTES, FeedEntry, Selection, select
from gateway.feed.reader import Feed
from gateway.feed.stream import EventStream, StreamPace
from gateway.metrics import GatewayMetrics, StreamEnd
from gateway.parts import open_means
from gateway.settings import GatewaySettings


async def test_streams_and_polls_are_bounded_for_a_key_and_in_all(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    limits = {"feed_clients_limit": 3, "feed_clients_per_key_limit": 2}
    async with serving(tmp_path, events_url=events_url, measured=measured, **limits) as gateway, gateway.client() as client:
        async with stream(client) as first, stream(client) as second:
            await asyncio.gather(anext(first), anext(second))
            refusal = await client.get("/v1/events", params={"after": "0"})
            assert_problem(refusal, 429, "quota-exceeded")
            assert refusal.headers["retry-after"]
            samples = await gateway.metrics()
            assert samples["fetchwork_requests_waiting", "feed_clients"] == 2
            assert samples["fetchwork_limit", "feed_clients"] == 3
        async with asyncio.timeout(5):
            while (await client.get("/v1/events")).status_code != 200:
                await asyncio.sleep(0.01)
    limits = {"feed_clients_limit": 1, "feed_clients_per_key_limit": 2}
    async with serving(tmp_path, events_url=events_url, measured=measured, **limits) as gateway, gateway.client() as client:
        async with stream(client) as first:
            await anext(first)
            assert_problem(await client.get("/v1/events"), 503, "overloaded")
            assert (await gateway.metrics())["fetchwork_gate_closed", "feed_clients"] == 1


async def test_who_streams_or_waits_takes_no_place_of_who_works(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    """Ten requests may be under way; ten streams and ten waits are not among them."""
    async with (
        serving(tmp_path, events_url=events_url, measured=measured, requests_limit=10, waits_limit=10) as gateway,
        gateway.client() as client,
        AsyncExitStack() as stack,
    ):
        for _ in range(10):
            await anext(await stack.enter_async_context(stream(client)))
        headers = {"Prefer": "wait=30"}
        waits = [
            asyncio.create_task(client.post("/v1/fetches", json={"url": "http://a.test/"}, headers=headers)) for _ in range(10)
        ]
        async with asyncio.timeout(9):
            while await events.hlen(INGESTING_HASH) < 10:
                await asyncio.sleep(0.01)
        assert (await client.get("/v1/events")).status_code == 200
        samples = await gateway.metrics()
        assert samples["fetchwork_requests_waiting", "waits"] == 10
        answer = await client.post("/v1/fetches", json={"url": "http://a.test/"}, headers=headers)
        assert answer.status_code == 202 and "preference-applied" not in answer.headers  # no place: at once
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)


async def test_a_client_that_does_not_read_is_let_go_and_harms_nobody(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    """Its place is free after the time it had, and its connection is gone although it never hangs up."""
    settings = {"feed_send_timeout_seconds": 1, "client_stall_seconds": 8}
    async with serving(tmp_path, events_url=events_url, measured=measured, **settings) as gateway, gateway.client() as client:
        start = await begin(events, client)
        with socket.create_connection(("127.0.0.1", gateway.port)) as stalled:
            request = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nAccept: text/event-stream\r\n\r\n"
            stalled.sendall(request.encode())
            async with stream(client, after=start) as other, asyncio.timeout(30):
                while not (await gateway.metrics())["fetchwork_feed_streams_ended_total", "slow"]:
                    told = await tell(events, [finished(url="http://a.test/" + "x" * 4000) for _ in range(200)])
                    assert [event.json()["subject"] for event in await take(other, 200)] == told
            assert gateway.process is not None
            process, port = psutil.Process(gateway.process.pid), stalled.getsockname()[1]
            await wait_until(lambda: all(port not in connection.raddr for connection in process.net_connections("tcp")))


async def test_shutdown_ends_streams_polls_and_waits_at_once(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    async with serving(tmp_path, events_url=events_url, measured=measured) as gateway, gateway.client() as client:
        start = await begin(events, client)
        async with stream(client) as sent:
            await anext(sent)
            polling = asyncio.create_task(client.get("/v1/events", params={"after": start, "wait": 30}))
            body, headers = {"url": "http://a.test/"}, {"Prefer": "wait=30"}
            waiting = asyncio.create_task(client.post("/v1/fetches", json=body, headers=headers, timeout=40))
            async with asyncio.timeout(9):
                while not await events.hlen(INGESTING_HASH):
                    await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            stopping = asyncio.create_task(gateway.stop())
            assert [event async for event in sent] == []  # a clean end, no broken transfer
            assert (await polling).json()["items"] == [] and (await waiting).status_code == 202
        await stopping
        assert asyncio.get_running_loop().time() - began < 5  # not uvicorn's ten seconds
        await gateway.start()


@pytest.fixture
def metrics() -> GatewayMetrics:
    """The metrics of a feed of this process."""
    return GatewayMetrics()


@pytest.fixture
async def feed(events: Redis, metrics: GatewayMetrics) -> AsyncIterator[Feed]:
    """A feed of this process."""
    feed = Feed(events, metrics=metrics, ring_entries=100, ring_bytes=5_000)
    reading = asyncio.create_task(feed.run())
    async with asyncio.timeout(5):
        while not feed.is_ready:
            await asyncio.sleep(0.01)
    yield feed
    reading.cancel()


async def test_a_page_is_bounded_in_events_and_bytes_and_never_skips() -> None:
    """One event that is larger than a page travels alone."""
    sizes = [100, PAGE_BYTES, 100, PAGE_BYTES - 100, 1, *[1] * 20]
    records = [
        FeedRecord(id=StreamId(1, number), tenant="a", event=b'{"type": "x"}'.ljust(size)) for number, size in enumerate(sizes)
    ]
    mine, entries, pages, after = Selection(tenant="a"), [FeedEntry(record) for record in records], list[int](), BEGINNING
    while after < records[-1].id:
        page = select((entry for entry in entries if entry.id > after), after=after, selection=mine, limit=20)
        pages.append(len(page.entries))
        after = page.cursor
    assert pages == [1, 1, 2, 20, 1]


async def test_a_ping_moves_the_cursor_of_a_quiet_client(feed: Feed, events: Redis, metrics: GatewayMetrics) -> None:
    sent, start = list[Message](), feed.position
    pace = StreamPace(ping_seconds=0.05, send_timeout_seconds=5)
    answer = EventStream(
        feed, after=start, selection=Selection(tenant="default"), is_let_in=lambda: True, pace=pace, metrics=metrics
    )

    async def send(message: Message) -> None:
        sent.append(message)

    streaming = asyncio.create_task(answer.stream_response(send))
    await tell_many(events, 3, tenant="other")
    ((last, _),) = await events.xrevrange(FEED_STREAM, count=1)
    await wait_until(lambda: any(message.get("body") == b": ping\nid: " + last + b"\n\n" for message in sent))
    feed.close()
    await asyncio.wait_for(streaming, 5)


async def test_a_stream_ends_when_its_key_is_no_longer_good(feed: Feed, metrics: GatewayMetrics) -> None:
    sent, is_good = list[Message](), True
    pace = StreamPace(ping_seconds=0.05, send_timeout_seconds=5)
    answer = EventStream(
        feed, after=feed.position, selection=Selection(tenant="default"), is_let_in=lambda: is_good, pace=pace, metrics=metrics
    )

    async def send(message: Message) -> None:
        sent.append(message)

    streaming = asyncio.create_task(answer.stream_response(send))
    await wait_until(lambda: sum(b": ping" in message.get("body", b"") for message in sent) >= 2)
    is_good = False
    await asyncio.wait_for(streaming, 5)
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert metrics.registry.get_sample_value("fetchwork_feed_streams_ended_total", {"reason": StreamEnd.KEY}) == 1


async def test_a_quiet_client_does_not_fall_behind_the_ring(feed: Feed, events: Redis, metrics: GatewayMetrics) -> None:
    """What is not for a client moves its cursor, so that the next event that is comes from memory."""
    mine, start = Selection(tenant="default"), feed.position
    arrival = asyncio.create_task(feed.arrival("default", after=start, timeout_seconds=15))
    await asyncio.sleep(0)
    for _ in range(3):
        await tell_many(events, 40, tenant="other")
    (told,) = await tell_many(events, 1)
    cursor = await arrival
    assert cursor > start
    page = await feed.page(cursor, selection=mine, limit=10)
    assert [entry.finished_fetch for entry in page.entries] == [told]
    assert metrics.registry.get_sample_value("fetchwork_feed_pages_total", {"source": "history"}) == 0
    assert 0 < (metrics.registry.get_sample_value("fetchwork_feed_ring_bytes") or 0) <= 5_000
    page = await feed.page(start, selection=mine, limit=10)
    assert metrics.registry.get_sample_value("fetchwork_feed_pages_total", {"source": "history"}) == 1


async def test_while_redis_was_never_there_a_stream_that_comes_back_waits_and_a_new_one_is_refused(
    gateway: Any, metrics: GatewayMetrics
) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    settings = GatewaySettings.model_validate(
        {"api_key": KEY, "events_url": nowhere, "store_token": TOKEN, "store_url": gateway.store_url, "metrics_port": 0}
    )
    async with open_means(settings, clock=utc_now) as means:
        transport = httpx2.ASGITransport(app=create_app(means, settings))
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            for query in ({}, {"after": "1-1"}):
                answer = await client.get("/v1/events", params=query)
                assert_problem(answer, 503, "feed-unavailable", is_traced=False)
                assert answer.headers["retry-after"] == "1"
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as stranger:
            answer = await stranger.get("/v1/events?ticket=x")
            assert_problem(answer, 503, "feed-unavailable", is_traced=False)
        sent = list[Message]()

        async def send(message: Message) -> None:
            sent.append(message)

        streaming = asyncio.create_task(
            EventStream(
                means.feed,
                after=StreamId(1, 1),
                selection=Selection(tenant="default"),
                is_let_in=lambda: True,
                pace=StreamPace(ping_seconds=0.05, send_timeout_seconds=5),
                metrics=metrics,
            ).stream_response(send)
        )
        await wait_until(lambda: sum(b": ping" in message.get("body", b"") for message in sent) >= 2)
        means.feed.close()
        await asyncio.wait_for(streaming, 5)
