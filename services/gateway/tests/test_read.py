"""Reading: what the store has, and plain words for everything that is not there."""

from typing import Any

import httpx2
from common.contracts.fetches import FetchStatus
from common.ids import new_fetch_id
from common.streams.names import INGESTING_HASH
from gateway_words import assert_problem
from redis.asyncio import Redis


async def test_a_known_fetch_is_shown_with_links(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id = gateway.store.keep(b"x")
    document = (await client.get(f"/v1/fetches/{fetch_id}")).json()
    assert document["status"] == "succeeded"
    path = f"/v1/fetches/{fetch_id}"
    assert document["links"] == {"self": path, "content": f"{path}/content", "retry": f"{path}/retry", "batch": None}


async def test_what_is_not_there_is_explained(client: httpx2.AsyncClient, gateway: Any) -> None:
    unknown = new_fetch_id()
    assert_problem(await client.get(f"/v1/fetches/{unknown}"), 404, "not-found")
    assert_problem(await client.get(f"/v1/fetches/{unknown}/content"), 404, "not-found")
    assert_problem(await client.get("/v1/fetches/not-an-id"), 404, "not-found")
    assert_problem(await client.get("/nothing"), 404, "not-found")
    assert_problem(await client.put(f"/v1/fetches/{unknown}"), 405, "method-not-allowed")
    failed = gateway.store.keep(None, status=FetchStatus.FAILED)
    assert_problem(await client.get(f"/v1/fetches/{failed}/content"), 404, "no-content")


async def test_a_store_that_is_away_is_a_problem_to_retry(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id = gateway.store.keep(b"x")
    gateway.store.is_broken = True
    for path in (f"/v1/fetches/{fetch_id}", f"/v1/fetches/{fetch_id}/content"):
        answer = await client.get(path)
        assert assert_problem(answer, 503, "store-unavailable")["retryable"]
        assert answer.headers["retry-after"]


async def test_without_the_events_redis_nobody_can_tell_whether_a_fetch_was_promised(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    await events.set(INGESTING_HASH, "no hash: every question about it is refused")
    for path in (f"/v1/fetches/{new_fetch_id()}", f"/v1/batches/{new_fetch_id()}"):
        assert assert_problem(await client.get(path), 503, "store-unavailable")["retryable"]
    known = gateway.store.keep(b"x")
    assert (await client.get(f"/v1/fetches/{known}")).status_code == 200


async def test_every_problem_type_leads_to_its_remedy(client: httpx2.AsyncClient) -> None:
    problem = (await client.get("/v1/fetches/x")).json()
    page = await client.get(problem["type"])
    assert page.status_code == 200 and page.json()["status"] == 404 and page.json()["remedy"]


async def test_health_and_metrics(client: httpx2.AsyncClient, gateway: Any) -> None:
    assert (await client.get("/livez")).text == "ok\n"
    assert "[+]events ok" in (await client.get("/readyz?verbose")).text
    await client.get("/v1/fetches/x")
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        metrics = (await operator.get("/metrics")).text
        assert (await operator.get("/livez")).status_code == 200
        assert "[+]events ok" in (await operator.get("/readyz?verbose")).text
    assert "fetchwork_fetches_accepted_total" in metrics
    assert 'fetchwork_build_info{' in metrics
    assert 'route="/v1/fetches/{fetch_id}"' in metrics
    assert (await client.get("/metrics")).status_code == 404
