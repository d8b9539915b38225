"""Streams that are cut off, and what the feed stands on going away: nothing is missed, nothing comes twice."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
from common.streams.connection import connect_redis
from common.streams.names import FEED_STREAM
from feed_words import begin, stream, take, tell_many
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from gateway_lives import serving
from redis.asyncio import Redis

EVENTS = 10_000
CUTS = 20


class Reader:
    """A client that comes back with the last cursor that it saw, however often it is cut off."""

    def __init__(self, client: httpx2.AsyncClient, *, after: str) -> None:
        self.subjects: list[str] = []
        self.gaps = 0
        self._client = client
        self._cursor = after

    async def read(self, *, until: int, most: int | None = None) -> None:
        """Read until so many were seen in all, or `most` on this connection. What breaks it is its end."""
        count = 0
        try:
            async with stream(self._client, after=self._cursor) as sent:
                async for event in sent:
                    self._cursor = event.id
                    self.gaps += event.event == "gap"
                    if event.event == "fetch.finished.v1":
                        self.subjects.append(event.json()["subject"])
                        count += 1
                    if len(self.subjects) == until or count == most:
                        return
        except httpx2.TransportError:
            await asyncio.sleep(0.05)

    async def read_all(self, count: int) -> None:
        """Read until so many were seen."""
        async with asyncio.timeout(60):
            while len(self.subjects) < count:
                await self.read(until=count)


async def test_a_client_that_is_cut_off_misses_nothing_and_sees_nothing_twice(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    """Ten thousand events are told meanwhile, some of others; the gateway is stopped and started in between."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)  # noqa: S311
    async with serving(tmp_path, events_url=events_url, measured=measured, feed_ring_entries=700) as gateway:
        async with gateway.client() as client:
            reader = Reader(client, after=await begin(events, client))

            async def tell_all() -> list[str]:
                told: list[str] = []
                while len(told) < EVENTS:
                    told += await tell_many(events, min(chance.randint(1, 40), EVENTS - len(told)))
                    await tell_many(events, chance.randint(0, 3), tenant="other")
                    await asyncio.sleep(0)
                return told

            telling = asyncio.create_task(tell_all())
            for cut in range(CUTS):
                await reader.read(until=EVENTS, most=chance.randint(0, EVENTS // CUTS))
                if cut == CUTS // 2:
                    await gateway.stop()
                    await gateway.start()
            told = await telling
            await reader.read_all(EVENTS)
        pages = await gateway.metrics()
    assert reader.subjects == told and reader.gaps == 0
    assert pages["fetchwork_feed_pages_total", "ring"] > 0 and pages["fetchwork_feed_pages_total", "history"] > 0


async def test_what_is_no_longer_kept_is_one_gap(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    told = await tell_many(events, 300)
    ids = [entry_id.decode() for entry_id, _ in await events.xrange(FEED_STREAM)]
    await events.xtrim(FEED_STREAM, minid=ids[100], approximate=False)
    async with (
        serving(tmp_path, events_url=events_url, measured=measured, feed_ring_entries=50) as gateway,
        gateway.client() as client,
    ):
        async with stream(client, after=ids[10]) as sent:
            gap, *rest = await take(sent, 201)
        assert gap.event == "gap" and gap.json() == {"oldest": ids[100]}
        assert [event.json()["subject"] for event in rest] == told[100:]
        page = (await client.get("/v1/events", params={"after": ids[10], "limit": 1000})).json()
        assert page["gap"] == ids[100] and page["items"][0]["subject"] == told[100]
        for cursor in ("0", ids[100], ids[280]):
            page = (await client.get("/v1/events", params={"after": cursor, "limit": 1})).json()
            assert page["gap"] is None and len(page["items"]) == 1
        assert (await gateway.metrics())["fetchwork_feed_gaps_total", ""] == 1


async def test_a_stream_that_was_lost_is_a_gap_and_its_successor_is_read_from_its_start(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str]
) -> None:
    """A feed that begins anew may have lower ids than the cursors of the one before it."""
    await events.xadd(FEED_STREAM, {b"event": b"{}", b"tenant": b"nobody"}, id="9999999999999-0")
    async with serving(tmp_path, events_url=events_url, measured=measured) as gateway, gateway.client() as client:
        async with stream(client) as open_stream:
            assert (await anext(open_stream)).id == "9999999999999-0"
            await events.delete(FEED_STREAM)
            told = await tell_many(events, 3)
            async with stream(client, after="9999999999999-0") as resumed:
                for sent in (open_stream, resumed):
                    gap, *rest = await take(sent, 4)
                    assert gap.event == "gap"
                    assert [event.json()["subject"] for event in rest] == told


async def test_redis_may_go_and_come_back(tmp_path: Path, measured: Mapping[str, str]) -> None:
    """Open streams go on where they were."""
    folder, port = tmp_path / "events", free_port()
    folder.mkdir()
    async with AsyncExitStack() as stack:
        with embedded_redis(folder, port=port) as url:
            redis = connect_redis(url)
            stack.push_async_callback(redis.aclose)
            gateway = await stack.enter_async_context(serving(tmp_path, events_url=url, measured=measured, feed_ping_seconds=1))
            client = await stack.enter_async_context(gateway.client())
            told = await tell_many(redis, 5)
            sent = await stack.enter_async_context(stream(client, after="0"))
            assert [event.json()["subject"] for event in await take(sent, 5)] == told
        async with asyncio.timeout(10):
            while not (await gateway.metrics())["fetchwork_feed_failures_total", ""]:
                await asyncio.sleep(0.05)
        async with stream(client, after="0") as waiting:  # older than what memory has or not: it waits, and is not refused
            await anext(waiting)
            with embedded_redis(folder, port=port):
                later = await tell_many(redis, 5)
                assert [event.json()["subject"] for event in await take(sent, 5)] == later
                assert [event.json()["subject"] for event in await take(waiting, 10)] == told + later
                await redis.aclose()
