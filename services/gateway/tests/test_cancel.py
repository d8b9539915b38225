"""Cancelling: the answer 200 is the ledger's word, and nothing else is told as one."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView
from common.ids import new_fetch_id
from common.streams.names import INGESTING_HASH
from gateway_words import assert_problem
from redis.asyncio import Redis

URL = "http://example.test/"


def _keep(gateway: Any, status: FetchStatus, *, fetch_id: UUID | None = None) -> str:
    fetch_id = fetch_id or new_fetch_id()
    view = FetchView(id=fetch_id, url=URL, status=status, created_at=utc_now())
    gateway.store.views[fetch_id] = view.model_dump_json()
    return f"/v1/fetches/{fetch_id}"


def _cancellations(gateway: Any) -> int:
    return sum(method == "DELETE" for method, *_ in gateway.store.asked)


@pytest.mark.parametrize("status", [FetchStatus.QUEUED, FetchStatus.RUNNING])
async def test_a_pending_fetch_is_cancelled_and_repeating_it_changes_nothing(
    client: httpx2.AsyncClient, gateway: Any, status: FetchStatus
) -> None:
    path = _keep(gateway, status)
    answers = [await client.delete(path), await client.delete(path)]
    assert [answer.status_code for answer in answers] == [200, 200]
    first, again = (answer.json() for answer in answers)
    assert first["status"] == "cancelled" and first["links"]["self"] == path and first == again
    assert (await client.get(path)).json()["status"] == "cancelled"


@pytest.mark.parametrize("status", [FetchStatus.SUCCEEDED, FetchStatus.FAILED, FetchStatus.EXPIRED])
async def test_what_had_ended_otherwise_stays_so(client: httpx2.AsyncClient, gateway: Any, status: FetchStatus) -> None:
    path = _keep(gateway, status)
    document = assert_problem(await client.delete(path), 409, "already-finished")
    assert status in document["detail"] and not document["retryable"]
    assert (await client.get(path)).json()["status"] == status


async def test_what_nobody_promised_is_not_there(client: httpx2.AsyncClient, gateway: Any) -> None:
    assert_problem(await client.delete(f"/v1/fetches/{new_fetch_id()}"), 404, "not-found")
    assert _cancellations(gateway) == 2, "looked for once more, as it might have arrived in between; not waited for"
    assert_problem(await client.delete("/v1/fetches/not-an-id"), 404, "not-found")


async def test_a_promise_is_cancelled_once_it_is_in_the_ledger(client: httpx2.AsyncClient, gateway: Any) -> None:
    path = (await client.post("/v1/fetches", json={"url": URL})).headers["location"]
    _keep(gateway, FetchStatus.QUEUED, fetch_id=UUID(path.rpartition("/")[2]))
    gateway.store.ingests_after = 3
    answer = await client.delete(path)
    assert answer.status_code == 200 and answer.json()["status"] == "cancelled"
    assert _cancellations(gateway) == 4


async def test_a_promise_that_arrives_while_it_is_looked_for_is_found(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    path = _keep(gateway, FetchStatus.QUEUED)
    gateway.store.ingests_after = 1  # not there at the first look, and gone from the promises by the second
    assert not await events.exists(INGESTING_HASH)
    assert (await client.delete(path)).json()["status"] == "cancelled"


async def test_a_promise_that_does_not_arrive_is_neither_cancelled_nor_denied(client: httpx2.AsyncClient, gateway: Any) -> None:
    path = (await client.post("/v1/fetches", json={"url": URL})).headers["location"]
    started = asyncio.get_running_loop().time()
    answer = await client.delete(path)
    assert 1.5 < asyncio.get_running_loop().time() - started < 5
    assert assert_problem(answer, 503, "store-unavailable")["retryable"] and answer.headers["retry-after"]
    assert 5 < _cancellations(gateway) < 100
    assert (await client.get(path)).json()["status"] == "queued"


async def test_without_the_store_nothing_is_cancelled(client: httpx2.AsyncClient, gateway: Any) -> None:
    path = _keep(gateway, FetchStatus.QUEUED)
    gateway.store.is_broken = True
    answer = await client.delete(path)
    assert assert_problem(answer, 503, "store-unavailable")["retryable"] and answer.headers["retry-after"]


async def test_without_events_an_unknown_fetch_is_not_denied_and_a_known_one_is_cancelled(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    """A Redis that cannot tell is played by a hash of another type."""
    await events.set(INGESTING_HASH, "no hash")
    assert_problem(await client.delete(f"/v1/fetches/{new_fetch_id()}"), 503, "store-unavailable")
    assert (await client.delete(_keep(gateway, FetchStatus.QUEUED))).status_code == 200
