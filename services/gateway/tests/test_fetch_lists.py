"""Lists of fetches: the caller's own, the newest first, filtered, in pages that fit together."""

from typing import Any
from uuid import UUID

import httpx2
import pytest
from common.contracts.fetches import FetchStatus
from common.ids import new_fetch_id
from gateway_words import assert_problem

from gateway.http.cursors import write_cursor


def _ids(answer: httpx2.Response) -> list[UUID]:
    assert answer.status_code == 200, answer.text
    return [UUID(item["id"]) for item in answer.json()["items"]]


@pytest.fixture
def kept(gateway: Any) -> list[UUID]:
    """Five fetches, the newest first, and one of another tenant."""
    ids = [gateway.store.keep(b"x", url=f"http://host-{number % 2}.test:8080/") for number in range(5)]
    gateway.store.keep(b"x", tenant="other")
    return ids[::-1]


async def test_pages_follow_each_other(client: httpx2.AsyncClient, kept: list[UUID]) -> None:
    first = await client.get("/v1/fetches?limit=3")
    assert _ids(first) == kept[:3]
    assert first.json()["items"][0]["links"]["self"] == f"/v1/fetches/{kept[0]}"
    second = await client.get(first.links["next"]["url"])
    assert _ids(second) == kept[3:]
    assert second.json()["next_cursor"] is None and "link" not in second.headers
    assert _ids(await client.get("/v1/fetches", params={"cursor": first.json()["next_cursor"]})) == kept[3:]


async def test_filters_narrow_the_list_and_stay_in_its_link(client: httpx2.AsyncClient, gateway: Any, kept: list[UUID]) -> None:
    batch = new_fetch_id()
    failed = gateway.store.keep(None, status=FetchStatus.FAILED, labels=["shop", "run:1"], batch_id=batch)
    other = gateway.store.keep(None, status=FetchStatus.FAILED, labels=["run:1"])
    assert _ids(await client.get("/v1/fetches?status=failed")) == [other, failed]
    assert _ids(await client.get("/v1/fetches?label=shop&status=failed")) == [failed]
    assert _ids(await client.get(f"/v1/fetches?batch_id={batch}")) == [failed]
    assert _ids(await client.get("/v1/fetches?status=expired")) == []
    first = await client.get("/v1/fetches?label=run:1&limit=1")
    assert _ids(first) == [other] and _ids(await client.get(first.links["next"]["url"])) == [failed]


async def test_a_host_is_meant_as_fetches_have_it(client: httpx2.AsyncClient, kept: list[UUID]) -> None:
    assert _ids(await client.get("/v1/fetches?host=HOST-1.test.:8080")) == [kept[1], kept[3]]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("status=done", "status"), ("host=a/b", "host"), ("host=", "host"), ("label=a%20b", "label"), ("label=", "label"),
     ("batch_id=x", "batch_id"), ("limit=0", "limit"), ("limit=201", "limit")],
)
async def test_what_cannot_be_is_named(client: httpx2.AsyncClient, query: str, parameter: str) -> None:
    [error] = assert_problem(await client.get(f"/v1/fetches?{query}"), 422, "invalid-request")["errors"]
    assert error["parameter"] == parameter and error["detail"]


async def test_a_cursor_fits_only_the_list_that_it_came_with(client: httpx2.AsyncClient, gateway: Any, kept: list[UUID]) -> None:
    plain = (await client.get("/v1/fetches?limit=1")).json()["next_cursor"]
    narrow = (await client.get("/v1/fetches?limit=1&status=succeeded")).json()["next_cursor"]
    gateway.store.asked.clear()
    other_tenant = write_cursor(str(kept[0]), of="fetches of other?")
    no_id = write_cursor("not-an-id", of="fetches of default?")
    for query in ({"cursor": plain, "status": "succeeded"}, {"cursor": narrow}, {"cursor": narrow, "status": "failed"},
                  {"cursor": other_tenant}, {"cursor": no_id}, {"cursor": "x"}):
        assert_problem(await client.get("/v1/fetches", params=query), 400, "cursor-mismatch")
    assert gateway.store.asked == []
    assert _ids(await client.get("/v1/fetches", params={"cursor": narrow, "status": "succeeded"})) == kept[1:]


async def test_the_store_is_asked_in_the_name_of_the_tenant(client: httpx2.AsyncClient, gateway: Any) -> None:
    await client.get("/v1/fetches?host=A.test&status=queued&limit=7")
    query = {"tenant": "default", "limit": "7", "host": "a.test", "status": "queued"}
    assert gateway.store.asked == [("GET", "/internal/v1/fetches", query, None)]


async def test_without_the_store_it_is_a_problem_to_retry(client: httpx2.AsyncClient, gateway: Any) -> None:
    gateway.store.is_broken = True
    assert assert_problem(await client.get("/v1/fetches"), 503, "store-unavailable")["retryable"]
