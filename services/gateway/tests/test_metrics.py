"""What the gateway counts moves when it happens, and by as much."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest
from common.streams.names import ACCEPTED_STREAM
from gateway_words import assert_problem
from little_store import TOKEN
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.metrics import DEPENDENCIES, POOLS, GatewayMetrics
from gateway.store_client import StoreClient

NDJSON = {"Content-Type": "application/x-ndjson"}
Seen = dict[tuple[str, ...], float]


async def _seen(gateway: Any) -> Seen:
    """Samples by name and label values."""
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        text = (await operator.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def _rose(before: Seen, after: Seen, name: str, *labels: str) -> float:
    return after[name, *labels] - before[name, *labels]


async def test_a_promise_is_timed_by_what_came_of_it(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    before = await _seen(gateway)
    assert (await client.post("/v1/fetches", json={"url": "http://a.test/"})).status_code == 202
    await events.delete(ACCEPTED_STREAM)
    await events.set(ACCEPTED_STREAM, "no stream")  # Redis refuses to append
    assert_problem(await client.post("/v1/fetches", json={"url": "http://a.test/"}), 503, "events-unavailable")
    after = await _seen(gateway)
    count = "fetchwork_accept_duration_seconds_count"
    assert [_rose(before, after, count, result) for result in ("accepted", "failed", "refused")] == [1, 1, 0]
    assert after["fetchwork_accept_duration_seconds_bucket", "0.3", "accepted"] > 0


async def test_a_refused_promise_is_no_failure(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    assert (await client.post("/v1/fetches", json={"url": "http://a.test/"}, headers=headers)).status_code == 202
    before = await _seen(gateway)
    answer = await client.post("/v1/fetches", json={"url": "http://b.test/"}, headers=headers)
    assert_problem(answer, 422, "idempotency-key-reused")
    after = await _seen(gateway)
    assert _rose(before, after, "fetchwork_accept_duration_seconds_count", "refused") == 1
    assert _rose(before, after, "fetchwork_accept_duration_seconds_count", "failed") == 0


async def test_problems_are_counted_by_type_and_bytes_by_direction(client: httpx2.AsyncClient, gateway: Any) -> None:
    before = await _seen(gateway)
    content = b'{"url": "ftp://a.test/"}'
    answer = await client.post("/v1/fetches", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "invalid-request")
    after = await _seen(gateway)
    assert _rose(before, after, "fetchwork_problems_total", "invalid-request") == 1
    assert _rose(before, after, "fetchwork_problems_total", "internal") == 0
    assert _rose(before, after, "fetchwork_http_request_bytes_total") == len(content)
    assert _rose(before, after, "fetchwork_http_response_bytes_total") == len(answer.content)


async def test_a_refusal_in_firecrawls_form_is_counted_as_its_problem(client: httpx2.AsyncClient, gateway: Any) -> None:
    before = await _seen(gateway)
    answer = await client.post("/v2/batch/scrape", json={"urls": ["ftp://a.test/"]})
    assert answer.json()["success"] is False
    assert _rose(before, await _seen(gateway), "fetchwork_problems_total", "invalid-request") == 1


async def test_lines_of_a_batch_are_counted_by_what_came_of_them(client: httpx2.AsyncClient, gateway: Any) -> None:
    before = await _seen(gateway)
    content = b"http://a.test/\nhttp://b.test/\nftp://c.test/\n"
    assert (await client.post("/v1/batches", content=content, headers=NDJSON)).status_code == 202
    after = await _seen(gateway)
    assert _rose(before, after, "fetchwork_batch_lines_total", "accepted") == 2
    assert _rose(before, after, "fetchwork_batch_lines_total", "rejected") == 1


async def test_the_store_is_counted_by_what_it_was_asked_and_what_came_of_it(gateway: Any) -> None:
    metrics = GatewayMetrics()
    store = StoreClient(base_url=gateway.store_url, token=TOKEN, timeout_seconds=5, metrics=metrics)
    away = StoreClient(base_url="http://127.0.0.1:1", token=TOKEN, timeout_seconds=1, metrics=metrics)

    def count(operation: str, result: str) -> float | None:
        labels = {"operation": operation, "result": result}
        return metrics.registry.get_sample_value("fetchwork_store_requests_total", labels)

    await store.list_hosts(limit=1, after=None, state=None)
    gateway.store.is_broken = True
    with pytest.raises(StoreUnavailable):
        await store.read_host("a.test")
    with pytest.raises(StoreUnavailable):
        await away.check()
    assert (count("list", "ok"), count("read", "refused"), count("keys", "unavailable"), count("keys", "ok")) == (1, 1, 1, 0)
    seconds = "fetchwork_store_request_duration_seconds_count"
    assert [metrics.registry.get_sample_value(seconds, {"operation": name}) for name in ("list", "read", "keys", "plan")] == [
        1, 1, 1, 0,
    ]  # fmt: skip
    await store.close()
    await away.close()


async def test_a_running_gateway_watches_what_it_says_that_it_watches(client: httpx2.AsyncClient, gateway: Any) -> None:
    await client.post("/v1/fetches", json={"url": "http://a.test/"})
    seen = await _seen(gateway)
    assert {labels[0] for name, *labels in seen if name == "fetchwork_dependency_up"} == set(DEPENDENCIES)
    assert seen["fetchwork_dependency_checked_timestamp_seconds",] > 0 and seen["fetchwork_dependency_up", "events"] == 1
    assert {labels[0] for name, *labels in seen if name == "fetchwork_redis_connections"} == set(POOLS)
    assert seen["fetchwork_redis_connections", "promises", "idle"] >= 1
    assert seen["fetchwork_limit", "redis_connections_feed"] == 16
    assert seen["fetchwork_loop_passes_total", "key_use", "ok"] >= 1
