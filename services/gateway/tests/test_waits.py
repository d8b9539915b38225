"""`Prefer: wait`: the finished fetch as soon as the feed tells of it, and the usual answer otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView
from common.ids import new_fetch_id
from common.streams.names import INGESTING_HASH
from feed_words import begin, finished, tell, wait_until
from redis.asyncio import Redis

URL = "http://a.test/"


def _keep(gateway: Any, fetch_id: UUID, status: FetchStatus = FetchStatus.SUCCEEDED) -> None:
    view = FetchView(id=fetch_id, url=URL, status=status, created_at=utc_now())
    gateway.store.views[fetch_id] = view.model_dump_json()


async def _promised(events: Redis) -> UUID:
    """The id of the one fetch that was promised, once it was."""
    async with asyncio.timeout(9):
        while not (ids := await events.hkeys(INGESTING_HASH)):
            await asyncio.sleep(0.01)
    return UUID(ids[0].decode())


def _looks(gateway: Any) -> int:
    return sum(method == "GET" and path.startswith("/internal/v1/fetches/") for method, path, _, _ in gateway.store.asked)


@asynccontextmanager
async def _submitting(client: httpx2.AsyncClient, prefer: str) -> AsyncIterator["asyncio.Task[httpx2.Response]"]:
    headers = {"Prefer": prefer}
    submitting = asyncio.create_task(client.post("/v1/fetches", json={"url": URL}, headers=headers, timeout=40))
    yield submitting
    submitting.cancel()
    await asyncio.wait({submitting})


@pytest.mark.parametrize("prefer", ["wait=20", "respond-async, wait=20"])
async def test_the_finish_is_the_answer_and_nothing_polls(
    client: httpx2.AsyncClient, gateway: Any, events: Redis, prefer: str
) -> None:
    await begin(events, client)
    async with _submitting(client, prefer) as submitting:
        fetch_id = await _promised(events)
        assert _looks(gateway) == 0
        _keep(gateway, fetch_id)
        began = asyncio.get_running_loop().time()
        await tell(events, [finished(fetch_id)])
        answer = await submitting
    assert asyncio.get_running_loop().time() - began < 1
    assert answer.status_code == 200 and answer.json()["status"] == "succeeded" and answer.json()["id"] == str(fetch_id)
    assert answer.headers["content-location"] == f"/v1/fetches/{fetch_id}" == answer.json()["links"]["self"]
    assert answer.headers["preference-applied"] == "wait=20"
    assert _looks(gateway) == 1


async def test_what_is_not_finished_in_time_goes_on(client: httpx2.AsyncClient, events: Redis) -> None:
    began = asyncio.get_running_loop().time()
    answer = await client.post("/v1/fetches", json={"url": URL}, headers={"Prefer": "respond-async, wait=1"})
    assert 0.9 < asyncio.get_running_loop().time() - began < 6
    assert answer.status_code == 202 and answer.json()["status"] == "queued"
    assert answer.headers["preference-applied"] == "respond-async, wait=1"
    assert answer.headers["location"].endswith(answer.json()["id"]) and answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("prefer", "heeded"), [("respond-async", "respond-async"), ("wait=soon", None), ("return=minimal", None), ("wait=0", None)]
)
async def test_without_a_wait_the_answer_comes_at_once(
    client: httpx2.AsyncClient, events: Redis, prefer: str, heeded: str | None
) -> None:
    answer = await client.post("/v1/fetches", json={"url": URL}, headers={"Prefer": prefer})
    assert answer.status_code == 202 and answer.headers.get("preference-applied") == heeded


async def test_a_finish_that_the_feed_does_not_tell_is_seen_at_the_store(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    async with _submitting(client, "wait=1") as submitting:
        _keep(gateway, await _promised(events))
        assert (await submitting).status_code == 200


async def test_a_store_that_cannot_be_asked_is_asked_again(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    await begin(events, client)
    async with _submitting(client, "wait=20") as submitting:
        fetch_id = await _promised(events)
        gateway.store.is_broken = True
        await tell(events, [finished(fetch_id)])
        await wait_until(lambda: len(gateway.store.asked) > 0)
        _keep(gateway, fetch_id)
        gateway.store.is_broken = False
        assert (await submitting).status_code == 200


async def test_who_hangs_up_leaves_no_wait_behind(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    await begin(events, client)

    async def waiting() -> str:
        async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
            lines = (await operator.get("/metrics")).text.splitlines()
        return next(line for line in lines if line.startswith('fetchwork_requests_waiting{room="waits"}')).split()[1]

    async with _submitting(client, "wait=20"):
        fetch_id = await _promised(events)
        assert await waiting() == "1.0"
    async with asyncio.timeout(5):
        while await waiting() != "0.0":
            await asyncio.sleep(0.01)
    gateway.store.asked.clear()
    await tell(events, [finished(fetch_id)])
    await begin(events, client)
    assert _looks(gateway) == 0


async def test_reading_waits_too_and_says_that_it_may(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    await begin(events, client)
    fetch_id = new_fetch_id()
    _keep(gateway, fetch_id, FetchStatus.RUNNING)
    reading = asyncio.create_task(client.get(f"/v1/fetches/{fetch_id}", headers={"Prefer": "wait=9"}))
    await wait_until(lambda: _looks(gateway) == 1)
    _keep(gateway, fetch_id)
    await tell(events, [finished(fetch_id)])
    answer = await reading
    assert answer.json()["status"] == "succeeded" and _looks(gateway) == 2
    assert answer.headers["vary"] == "Prefer" and answer.headers["preference-applied"] == "wait=9"
    assert (await client.get(f"/v1/fetches/{fetch_id}")).headers["vary"] == "Prefer"
    unknown = await client.get(f"/v1/fetches/{new_fetch_id()}", headers={"Prefer": "wait=9"})
    assert unknown.status_code == 404


async def test_preferences_in_several_fields_are_all_heard(client: httpx2.AsyncClient, events: Redis) -> None:
    await begin(events, client)
    headers = [("Prefer", "foo"), ("Prefer", "respond-async"), ("Prefer", "wait=1")]
    answer = await client.post("/v1/fetches", json={"url": URL}, headers=headers)
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async, wait=1")
