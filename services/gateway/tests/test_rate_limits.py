"""Quotas over HTTP: 429 at the limit and no sooner, headers that the draft's readers can read, and our own faults kept apart."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH
from fetchwork_local.ports import free_port
from gateway_words import assert_problem
from quota_words import LimitedGateway, items, limited_gateway_process, pass_time
from redis.asyncio import Redis

from gateway.access.quotas import PREFIX

FETCH = {"url": "http://a.test/"}
NOBODY = "00000000-0000-7000-8000-000000000000"
REFUSALS = "fetchwork_quota_refusals_total"
UNCOUNTED = "fetchwork_quota_uncounted_total"


@pytest.fixture(scope="session")
async def both(
    running_gateway: Any, events_url: str, measured: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Sequence[LimitedGateway]]:
    """Two gateways over one Redis."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                limited_gateway_process(
                    events_url=events_url,
                    store_url=running_gateway.store_url,
                    log=tmp_path_factory.mktemp("limited") / "log",
                    extra=measured,
                )
            )
            for _ in range(2)
        ]


@pytest.fixture
async def limited(both: Sequence[LimitedGateway], gateway: Any) -> LimitedGateway:
    """One of them, with an empty Redis and an empty store."""
    return both[0]


@pytest.fixture
async def severed(
    running_gateway: Any, measured: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LimitedGateway]:
    """A gateway whose events Redis is away."""
    async with limited_gateway_process(
        events_url=f"redis://127.0.0.1:{free_port()}/0",
        store_url=running_gateway.store_url,
        log=tmp_path_factory.mktemp("severed") / "log",
        extra=measured,
    ) as process:
        yield process


async def _burst(both: Sequence[LimitedGateway], count: int, method: str, path: str, **limits: int) -> list[httpx2.Response]:
    """So many requests at once with one key, shared out among both gateways."""
    async with both[0].client("burst", **limits) as one, both[1].client("burst", **limits) as other:
        body = FETCH if method == "POST" else None
        return await asyncio.gather(
            *((one, other)[number % 2].request(method, path, json=body) for number in range(count))
        )


@pytest.mark.usefixtures("gateway")
async def test_of_200_requests_at_once_on_two_gateways_exactly_the_limit_passes(both: Sequence[LimitedGateway]) -> None:
    answers = await _burst(both, 200, "GET", f"/v1/fetches/{NOBODY}", requests_per_minute=50)
    assert sorted({answer.status_code for answer in answers}) == [404, 429]
    assert sum(answer.status_code == 404 for answer in answers) == 50


@pytest.mark.usefixtures("gateway")
async def test_of_100_fetches_at_once_on_two_gateways_exactly_the_limit_is_accepted(
    both: Sequence[LimitedGateway], events: Redis
) -> None:
    answers = await _burst(both, 100, "POST", "/v1/fetches", fetches_per_minute=30)
    assert sorted({answer.status_code for answer in answers}) == [202, 429]
    assert sum(answer.status_code == 202 for answer in answers) == 30 == await events.xlen(ACCEPTED_STREAM)


async def test_every_answer_to_a_limited_key_says_what_is_left(limited: LimitedGateway) -> None:
    async with limited.client("k", requests_per_minute=100, fetches_per_minute=20) as client:
        read = await client.get(f"/v1/fetches/{NOBODY}")
        accepted = await client.post("/v1/fetches", json=FETCH)
        invalid = await client.post("/v1/fetches", json={})
        unknown = await client.get("/v1/nothing")
    answers = (read, accepted, invalid, unknown)
    assert [answer.status_code for answer in answers] == [404, 202, 422, 404]
    for number, answer in enumerate(answers, start=1):
        assert items(answer.headers["ratelimit-policy"]) == {"requests": {"q": 100, "w": 60}, "fetches": {"q": 20, "w": 60}}
        left = items(answer.headers["ratelimit"])
        assert left["requests"]["r"] == 100 - number and 1 <= left["requests"]["t"] <= 60
        assert ("fetches" in left) == (answer is accepted)
    assert items(accepted.headers["ratelimit"])["fetches"]["r"] == 19


async def test_a_key_with_one_limit_hears_of_one(limited: LimitedGateway) -> None:
    async with limited.client("r", requests_per_minute=5) as client:
        accepted = await client.post("/v1/fetches", json=FETCH)
    assert items(accepted.headers["ratelimit"]).keys() == items(accepted.headers["ratelimit-policy"]).keys() == {"requests"}
    async with limited.client("f", fetches_per_minute=5) as client:
        read, accepted = await client.get(f"/v1/fetches/{NOBODY}"), await client.post("/v1/fetches", json=FETCH)
    assert items(read.headers["ratelimit-policy"]).keys() == {"fetches"} and "ratelimit" not in read.headers
    assert items(accepted.headers["ratelimit"]).keys() == {"fetches"}


async def test_unlimited_keys_leave_no_trace(limited: LimitedGateway, client: httpx2.AsyncClient, events: Redis) -> None:
    async with limited.client("free") as free, limited.client("queue", queued_fetches=9) as queue:
        for unlimited in (free, queue, client):
            for answer in (await unlimited.post("/v1/fetches", json=FETCH), await unlimited.get(f"/v1/fetches/{NOBODY}")):
                assert not [name for name in answer.headers if name.startswith("ratelimit")]
    assert not [key async for key in events.scan_iter(f"{PREFIX}*")]


async def test_a_refused_request_is_told_why_and_until_when(limited: LimitedGateway, events: Redis) -> None:
    before = await limited.metrics()
    async with limited.client("k", requests_per_minute=2) as client:
        for _ in range(2):
            last = await client.get(f"/v1/fetches/{NOBODY}")
        refused = await client.post("/v1/fetches", json=FETCH)
    document = assert_problem(refused, 429, "quota-exceeded", is_traced=False)
    assert document["violated-policies"] == ["requests"] and document["retryable"]
    assert document["detail"] == "This key may send 2 requests a minute."
    assert refused.headers["cache-control"] == "no-store"
    left = items(refused.headers["ratelimit"])["requests"]
    assert left["r"] == 0 and int(refused.headers["retry-after"]) >= left["t"] > 0
    assert items(last.headers["ratelimit"])["requests"]["r"] == 0
    assert not await events.xlen(ACCEPTED_STREAM)
    after = await limited.metrics()
    assert after[REFUSALS, "requests"] == before[REFUSALS, "requests"] + 1
    assert {limit for name, limit in after if name == REFUSALS} == {"requests", "fetches", "queued"}


async def test_refused_fetches_are_told_why_and_until_when(limited: LimitedGateway, events: Redis) -> None:
    before = await limited.metrics()
    async with limited.client("k", requests_per_minute=9, fetches_per_minute=1) as client:
        assert (await client.post("/v1/fetches", json=FETCH)).status_code == 202
        refused = await client.post("/v1/fetches", json=FETCH)
        assert (await client.get(f"/v1/fetches/{NOBODY}")).status_code == 404
    document = assert_problem(refused, 429, "quota-exceeded", is_traced=False)
    assert document["violated-policies"] == ["fetches"]
    assert refused.headers["cache-control"] == "no-store"
    left = items(refused.headers["ratelimit"])
    assert (left["requests"]["r"], left["fetches"]["r"]) == (7, 0)
    assert int(refused.headers["retry-after"]) >= left["fetches"]["t"] > 0
    assert await events.xlen(ACCEPTED_STREAM) == 1
    assert (await limited.metrics())[REFUSALS, "fetches"] == before[REFUSALS, "fetches"] + 1


async def test_what_was_refused_passes_when_the_window_has_slid(limited: LimitedGateway, events: Redis) -> None:
    async with limited.client("k", requests_per_minute=4) as client:
        statuses = [(await client.get(f"/v1/fetches/{NOBODY}")).status_code for _ in range(5)]
        assert statuses == [404, 404, 404, 404, 429]
        await pass_time(events, 75.5)  # the four weigh three by now: three quarters of their minute are left
        statuses = [(await client.get(f"/v1/fetches/{NOBODY}")).status_code for _ in range(4)]
        assert statuses == [404, 404, 429, 429]


async def test_with_nothing_left_no_answer_invites_sooner_than_that(limited: LimitedGateway) -> None:
    async with limited.client("k", requests_per_minute=2) as client:
        accepted, last = [await client.post("/v1/fetches", json=FETCH) for _ in range(2)]
    assert accepted.headers["retry-after"] == "1"
    left = items(last.headers["ratelimit"])["requests"]
    assert last.status_code == 202 and left["r"] == 0 and int(last.headers["retry-after"]) >= left["t"] > 1


async def test_our_own_limit_is_503_and_none_of_the_keys(limited: LimitedGateway, events: Redis) -> None:
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(20_000)})
    before = await limited.metrics()
    async with limited.client("k", requests_per_minute=9, fetches_per_minute=9) as client:
        answer = await client.post("/v1/fetches", json=FETCH)
    document = assert_problem(answer, 503, "overloaded", is_traced=False)
    assert "violated-policies" not in document
    left = items(answer.headers["ratelimit"])
    assert left["requests"]["r"] == 8 and left["fetches"]["r"] == 8  # what was charged first stays charged
    assert {name: value for name, value in (await limited.metrics()).items() if name[0] == REFUSALS} == {
        name: value for name, value in before.items() if name[0] == REFUSALS
    }


async def test_without_redis_reads_go_on_and_writes_are_refused_as_ours(severed: LimitedGateway) -> None:
    async with severed.client("k", requests_per_minute=1) as client:
        reads = [await client.get("/v1/hosts") for _ in range(3)]
        writes = [
            await client.post("/v1/fetches", json=FETCH),
            await client.patch("/v1/hosts/a.test", json={"state": "open"}),
        ]
    assert [read.status_code for read in reads] == [200, 200, 200]
    for write in writes:
        assert_problem(write, 503, "events-unavailable", is_traced=False)
        assert int(write.headers["retry-after"]) >= 1
    assert not [name for answer in reads + writes for name in answer.headers if name.startswith("ratelimit")]
    assert (await severed.metrics())[UNCOUNTED, ""] == 3
    async with severed.client("f", fetches_per_minute=9) as client:
        assert_problem(await client.post("/v1/fetches", json=FETCH), 503, "events-unavailable", is_traced=False)


async def test_a_batch_fills_a_small_quota_and_names_each_line_beyond_it(limited: LimitedGateway, events: Redis) -> None:
    """Its parts are no larger than the quota, and lines that are bad anyway are named in their order among those refused."""
    body = "\n".join("nonsense" if number == 25 else f"http://a.test/{number}" for number in range(1, 31))
    for name, limits in (("minute", {"fetches_per_minute": 12}), ("queued", {"queued_fetches": 12})):
        async with limited.client(name, **limits) as client:
            answer = await client.post("/v1/batches", content=body, headers={"Content-Type": "application/x-ndjson"})
        receipt = answer.json()
        assert (answer.status_code, receipt["accepted"], receipt["rejected"]) == (202, 12, 18), name
        assert [error["line"] for error in receipt["errors"]] == list(range(13, 31)), name
