"""Dead letters over REST: pages, the newest first, and putting one back once."""

import hashlib
from typing import Any

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.dead_letters import DeadLetterView
from gateway_words import KEY, assert_problem


@pytest.fixture
def parked(gateway: Any) -> dict[int, DeadLetterView]:
    """Three messages that could not be applied."""
    known: dict[int, DeadLetterView] = gateway.store.dead_letters
    for number in (1, 2, 3):
        known[number] = DeadLetterView(
            id=number, stream="s", entry_id=f"{number}-0", reason="r", created_at=utc_now(), size_bytes=2, text="{}"
        )
    return known


async def test_pages_follow_each_other(client: httpx2.AsyncClient, parked: dict[int, DeadLetterView]) -> None:
    first = await client.get("/v1/dead-letters?limit=2")
    assert first.headers["cache-control"] == "no-store"
    assert [item["id"] for item in first.json()["items"]] == [3, 2]
    assert first.json()["items"][0]["text"] == "{}"
    assert first.json()["items"][0]["links"] == {"redrive": "/v1/dead-letters/3/redrive"}
    second = await client.get(first.links["next"]["url"])
    assert [item["id"] for item in second.json()["items"]] == [1]
    assert second.json()["next_cursor"] is None and "link" not in second.headers


async def test_a_cursor_of_another_list_is_refused(client: httpx2.AsyncClient, parked: dict[int, DeadLetterView]) -> None:
    cursor = (await client.get("/v1/dead-letters?limit=1")).json()["next_cursor"]
    assert_problem(await client.get("/v1/hosts", params={"cursor": cursor}), 400, "cursor-mismatch")
    assert_problem(await client.get("/v1/dead-letters?cursor=x"), 400, "cursor-mismatch")


@pytest.mark.parametrize("limit", [0, 201])
async def test_a_limit_that_cannot_be_is_named(client: httpx2.AsyncClient, limit: int) -> None:
    [error] = assert_problem(await client.get(f"/v1/dead-letters?limit={limit}"), 422, "invalid-request")["errors"]
    assert error["parameter"] == "limit"


async def test_one_is_put_back_in_the_name_of_the_key(
    client: httpx2.AsyncClient, gateway: Any, parked: dict[int, DeadLetterView]
) -> None:
    answer = await client.post("/v1/dead-letters/2/redrive")
    assert answer.status_code == 200 and answer.json()["id"] == 2 and answer.json()["redriven_at"]
    actor = f"key:{hashlib.sha256(KEY.encode()).hexdigest()[:8]}"
    assert gateway.store.asked == [("POST", "/internal/v1/dead-letters/2/redrive", {}, {"actor": actor})]


@pytest.mark.parametrize("number", ["9", "0", "-1", "x", "9223372036854775808"])
async def test_what_is_not_there_cannot_be_put_back(
    client: httpx2.AsyncClient, parked: dict[int, DeadLetterView], number: str
) -> None:
    assert_problem(await client.post(f"/v1/dead-letters/{number}/redrive"), 404, "not-found")


async def test_without_events_or_the_store_it_is_a_problem_to_retry(
    client: httpx2.AsyncClient, gateway: Any, parked: dict[int, DeadLetterView]
) -> None:
    gateway.store.is_without_events = True
    answers = [await client.post("/v1/dead-letters/2/redrive")]
    gateway.store.is_broken = True
    answers += [await client.post("/v1/dead-letters/2/redrive"), await client.get("/v1/dead-letters")]
    for answer in answers:
        assert assert_problem(answer, 503, "store-unavailable")["retryable"] and answer.headers["retry-after"]


async def test_the_example_of_the_description_holds(client: httpx2.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    DeadLetterView.model_validate(schemas["DeadLetterDocument"]["examples"][0])
