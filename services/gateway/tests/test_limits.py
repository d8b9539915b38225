"""The gateway's links in the chain of limits: shown in its metrics, and refused where they contradict each other."""

from typing import Any

import httpx2
import pytest
from common.streams.names import INGESTING_HASH
from gateway_words import KEY, assert_problem
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from starlette.responses import PlainTextResponse

from gateway.errors import Limit, QuotaExceeded
from gateway.http.observation import Observation
from gateway.metrics import GatewayMetrics
from gateway.problems.answers import gateway_error_response
from gateway.settings import GatewaySettings

SCOPE = {"type": "http", "method": "GET", "path": "/x", "headers": []}
ENOUGH = {"api_key": KEY, "events_url": "redis://unused", "store_token": "x" * 16, "store_url": "http://s", "metrics_port": 0}


async def _metrics(gateway: Any) -> dict[tuple[str, str], float]:
    """Samples by name and by the value of their one label."""
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        text = (await operator.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, "".join(sample.labels.values())): sample.value for sample in samples}


async def test_the_limits_in_force_are_shown(gateway: Any) -> None:
    metrics = await _metrics(gateway)
    assert metrics["fetchwork_limit", "ingesting_fetches"] == 50
    assert metrics["fetchwork_limit", "requests"] == 500
    assert metrics["fetchwork_limit", "idempotency_records"] == 1_000_000
    assert metrics["fetchwork_limit", "connections"] == 10_000


async def test_a_backlog_closes_its_gate_until_something_is_let_in_again(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    before = await _metrics(gateway)
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(50)})
    assert_problem(await client.post("/v1/fetches", json={"url": "http://a.test/"}), 503, "overloaded")
    closed = await _metrics(gateway)
    assert closed["fetchwork_gate_closed", "ingesting"] == 1
    assert closed["fetchwork_gate_refusals_total", "ingesting"] == before["fetchwork_gate_refusals_total", "ingesting"] + 1
    await events.delete(INGESTING_HASH)
    assert (await client.post("/v1/fetches", json={"url": "http://a.test/"})).status_code == 202
    opened = await _metrics(gateway)
    assert opened["fetchwork_gate_closed", "ingesting"] == 0
    assert opened["fetchwork_gate_refusals_total", "ingesting"] == closed["fetchwork_gate_refusals_total", "ingesting"]


async def test_requests_over_the_limit_close_their_gate() -> None:
    metrics = GatewayMetrics()

    async def nothing(*_: Any) -> Any:
        return {"type": "http.request"}

    for limit, closed, refusals in ((0, 1, 1), (1, 0, 1)):
        app = Observation(PlainTextResponse("ok"), metrics=metrics, requests_limit=limit)
        await app(dict(SCOPE), nothing, nothing)
        assert metrics.registry.get_sample_value("fetchwork_gate_closed", {"gate": "requests"}) == closed
        assert metrics.registry.get_sample_value("fetchwork_gate_refusals_total", {"gate": "requests"}) == refusals


def test_a_quota_is_the_callers_and_says_when_to_come_back() -> None:
    answer = gateway_error_response(QuotaExceeded(Limit.QUEUED, 5, "Come back."), instance="/v1/fetches")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert b"/problems/quota-exceeded" in answer.body and b'["queued"]' in answer.body


async def test_new_routes_are_measured_by_their_template(client: httpx2.AsyncClient, gateway: Any) -> None:
    await client.get("/v1/hosts/secret-host.test")
    await client.patch("/v1/hosts/secret-host.test", json={"state": "open"})
    await client.post("/v1/dead-letters/7/redrive")
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        text = (await operator.get("/metrics")).text
    assert 'method="PATCH",route="/v1/hosts/{host}"' in text
    assert 'route="/v1/dead-letters/{dead_letter_id}/redrive"' in text
    assert "secret-host" not in text


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, []), ({"requests_limit": 10_001}, ["CONNECTIONS_LIMIT"]), ({"connections_limit": 500}, []),
     ({"connections_limit": 499, "store_url": ""}, ["STORE_URL", "WORK_REQUESTS_LIMIT", "FEED_CLIENTS", "WAITS_LIMIT"]),
     ({"idempotency_lease_seconds": 7}, ["LEASE_SECONDS"]), ({"idempotency_lease_seconds": 8}, []),
     ({"idempotency_lease_seconds": 600}, ["LEASE_SECONDS"]), ({"idempotency_retention_seconds": 599}, ["SHORT_RETENTION"])],
)
def test_limits_that_contradict_each_other_are_named(given: dict[str, Any], words: list[str]) -> None:
    faults = GatewaySettings.model_validate(ENOUGH | given).faults()
    assert len(faults) == len(words) and all(word in fault for word, fault in zip(words, faults, strict=True))
