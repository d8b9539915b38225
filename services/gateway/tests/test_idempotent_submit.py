"""`POST /v1/fetches` with an Idempotency-Key: one fetch, one answer, whatever is sent again and whatever was restarted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from common.streams.connection import connect_redis
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from gateway_process import serving
from gateway_words import KEY, assert_problem, make_stream
from little_store import TOKEN, LittleStore
from redis.asyncio import Redis

from gateway.app import create_app
from gateway.parts import open_means
from gateway.settings import GatewaySettings

URL = "http://example.test/page?q=1"
KEYED = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": '"a-key-of-mine"'}
OF_ONE_EXCHANGE = {"date"}


def assert_replay(replay: httpx2.Response, original: httpx2.Response) -> None:
    """The same status, headers and bytes, and the mark of a replay."""
    assert (replay.status_code, replay.content) == (original.status_code, original.content)
    headers = dict(replay.headers)
    assert headers.pop("idempotency-replayed") == "true"
    assert {name: value for name, value in headers.items() if name not in OF_ONE_EXCHANGE} == {
        name: value for name, value in original.headers.items() if name not in OF_ONE_EXCHANGE
    }


async def test_the_same_request_is_promised_once_and_answered_alike(client: httpx2.AsyncClient, events: Redis) -> None:
    first = await client.post("/v1/fetches", json={"url": URL, "labels": ["a"], "attrs": {"n": 1}}, headers=KEYED)
    assert first.status_code == 202 and "idempotency-replayed" not in first.headers
    for key in ('"a-key-of-mine"', "a-key-of-mine"):
        headers = {"Idempotency-Key": key}
        again = await client.post("/v1/fetches", json={"url": URL, "labels": ["a"], "attrs": {"n": 1}}, headers=headers)
        assert_replay(again, first)
    assert await events.xlen(ACCEPTED_STREAM) == 1


async def test_it_is_replayed_also_when_the_ledger_has_it_and_when_there_is_no_room(
    client: httpx2.AsyncClient, events: Redis
) -> None:
    first = await client.post("/v1/fetches", json={"url": URL}, headers=KEYED)
    await events.delete(INGESTING_HASH)
    assert_replay(await client.post("/v1/fetches", json={"url": URL}, headers=KEYED), first)
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(50)})
    assert_replay(await client.post("/v1/fetches", json={"url": URL}, headers=KEYED), first)
    assert await events.xlen(ACCEPTED_STREAM) == 1


async def test_thirty_two_at_once_get_one_fetch(client: httpx2.AsyncClient, events: Redis) -> None:
    answers = await asyncio.gather(*(client.post("/v1/fetches", json={"url": URL}, headers=KEYED) for _ in range(32)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await events.xlen(ACCEPTED_STREAM) == 1


async def test_without_a_key_each_is_a_fetch_of_its_own(client: httpx2.AsyncClient, events: Redis) -> None:
    ids = {(await client.post("/v1/fetches", json={"url": URL})).json()["id"] for _ in range(2)}
    assert len(ids) == 2 == await events.xlen(ACCEPTED_STREAM)


@pytest.mark.parametrize(
    ("path", "content"), [("/v1/fetches", b'{"url": "http://b.test/"}'), ("/v1/fetches?a=b", b'{"url":"http://a.test/"}')]
)
async def test_a_key_stands_for_one_request(client: httpx2.AsyncClient, events: Redis, path: str, content: bytes) -> None:
    headers = {**KEYED, "Content-Type": "application/json"}
    await client.post("/v1/fetches", content=b'{"url":"http://a.test/"}', headers=headers)
    assert_problem(await client.post(path, content=content, headers=headers), 422, "idempotency-key-reused")
    assert_problem(await client.post("/v1/dead-letters/1/redrive", headers=headers), 422, "idempotency-key-reused")
    assert await events.xlen(ACCEPTED_STREAM) == 1


@pytest.mark.parametrize("key", ["", '""', '"open', "two words", "k" * 256, "a,b"])
@pytest.mark.parametrize("path", ["/v1/fetches", "/v1/dead-letters/1/redrive"])
async def test_a_malformed_key_is_refused(client: httpx2.AsyncClient, events: Redis, key: str, path: str) -> None:
    answer = await client.post(path, json={"url": URL}, headers={"Idempotency-Key": key})
    assert_problem(answer, 400, "idempotency-key-malformed")
    assert not await events.xlen(ACCEPTED_STREAM)


async def test_other_methods_have_no_keys(client: httpx2.AsyncClient, gateway: Any) -> None:
    assert (await client.get("/v1/hosts", headers={"Idempotency-Key": '"open'})).status_code == 200


async def test_what_was_not_promised_leaves_no_trace(client: httpx2.AsyncClient, events: Redis) -> None:
    """After a refusal the key is as good as new, also for a corrected request."""
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(50)})
    assert_problem(await client.post("/v1/fetches", json={"url": URL}, headers=KEYED), 503, "overloaded")
    await events.delete(INGESTING_HASH)
    assert_problem(await client.post("/v1/fetches", json={"url": 7}, headers=KEYED), 422, "invalid-request")
    answer = await client.post("/v1/fetches", json={"url": URL}, headers=KEYED)
    assert answer.status_code == 202 and "idempotency-replayed" not in answer.headers


async def test_what_came_of_keys_is_counted(client: httpx2.AsyncClient, gateway: Any) -> None:
    async def counts() -> dict[str, float]:
        async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
            lines = (await operator.get("/metrics")).text.splitlines()
        found = (line.rsplit(" ", 1) for line in lines if line.startswith("fetchwork_idempotency_claims_total{"))
        return {name.split('"')[1]: float(value) for name, value in found}

    before = await counts()
    for url in (URL, URL, "http://b.test/"):
        await client.post("/v1/fetches", json={"url": url}, headers=KEYED)
    after = await counts()
    grown = {name: after[name] - before[name] for name in after}
    assert grown == dict.fromkeys(grown, 0.0) | {"new": 1, "replayed": 1, "reused": 1}
    assert grown.keys() == {"new", "shortened", "resumed", "replayed", "reused", "in_flight", "refused"}


class _MovingClock:
    def __init__(self) -> None:
        self.now = datetime(2031, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def clocked(gateway: Any, events: Redis, events_url: str) -> AsyncIterator[tuple[httpx2.AsyncClient, _MovingClock]]:
    """A caller of a gateway whose clock is the test's."""
    clock = _MovingClock()
    settings = GatewaySettings.model_validate(
        {"api_key": KEY, "events_url": events_url, "store_token": TOKEN, "store_url": gateway.store_url, "metrics_port": 0}
    )
    async with open_means(settings, clock=clock) as means:
        transport = httpx2.ASGITransport(app=create_app(means, settings))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as caller:
            yield caller, clock


async def test_a_promise_is_replayed_after_its_times_have_passed(clocked: tuple[httpx2.AsyncClient, _MovingClock]) -> None:
    caller, clock = clocked
    request = {"url": URL, "expires_at": (clock.now + timedelta(hours=1)).isoformat()}
    first = await caller.post("/v1/fetches", json=request, headers=KEYED)
    assert first.status_code == 202
    clock.now += timedelta(hours=2)
    assert_replay(await caller.post("/v1/fetches", json=request, headers=KEYED), first)
    other = KEYED | {"Idempotency-Key": "another"}
    assert_problem(await caller.post("/v1/fetches", json=request, headers=other), 422, "invalid-request", is_traced=False)
    late = request | {"labels": ["x"]}
    assert_problem(await caller.post("/v1/fetches", json=late, headers=KEYED), 422, "idempotency-key-reused", is_traced=False)


async def test_a_record_is_kept_for_a_day(clocked: tuple[httpx2.AsyncClient, _MovingClock], events: Redis) -> None:
    await clocked[0].post("/v1/fetches", json={"url": URL}, headers=KEYED)
    (record,) = await events.keys("fetchwork:v1:idempotency:*")
    assert 24 * 3600 - 60 < await events.ttl(record) <= 24 * 3600
    assert await events.memory_usage(record) < 400
    assert b"example.test" not in b"".join((await events.hgetall(record)).values())


@pytest.mark.parametrize("restarts", ["gateway", "redis", "both"])
async def test_a_promise_is_replayed_after_restarts(
    little_store: tuple[LittleStore, str], measured: dict[str, str], tmp_path: Path, restarts: str
) -> None:
    store, store_url = little_store
    port = free_port()
    request = {"url": URL}
    async with AsyncExitStack() as redis_life, AsyncExitStack() as gateway_life:
        events_url = redis_life.enter_context(embedded_redis(tmp_path, port=port))
        gateway = await gateway_life.enter_async_context(
            serving(events_url=events_url, store=store, store_url=store_url, log=tmp_path / "log", environment=measured)
        )
        events = connect_redis(events_url)
        await make_stream(events)
        first = await _post(gateway.url, request)
        redrive = await _post(gateway.url, None, path="/v1/dead-letters/404/redrive", key="another")
        assert (first.status_code, redrive.status_code) == (202, 404)
        if restarts in ("gateway", "both"):
            await gateway_life.aclose()
        if restarts in ("redis", "both"):
            await redis_life.aclose()
            redis_life.enter_context(embedded_redis(tmp_path, port=port))
        if restarts in ("gateway", "both"):
            gateway = await gateway_life.enter_async_context(
                serving(events_url=events_url, store=store, store_url=store_url, log=tmp_path / "log", environment=measured)
            )
        assert_replay(await _post(gateway.url, request), first)
        assert_replay(await _post(gateway.url, None, path="/v1/dead-letters/404/redrive", key="another"), redrive)
        assert await events.xlen(ACCEPTED_STREAM) == 1
        await events.aclose()


async def _post(url: str, request: Any, *, path: str = "/v1/fetches", key: str = "a-key-of-mine") -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=url, headers=KEYED | {"Idempotency-Key": key}, timeout=10) as caller:
        return await caller.post(path, json=request)
