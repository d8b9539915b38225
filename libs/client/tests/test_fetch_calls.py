"""Fetches by the SDK: what submitting takes besides a URL, lists, and what can be done with one fetch."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fetchwork import Client, GatewayUnreachable, NotFound, ProblemError
from played_gateway import PlayedGateway

UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"
URL = "http://origin.example/"


async def test_everything_that_may_be_said_is_passed_on(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        await client.submit(
            URL,
            labels=["shop"],
            attrs={"sku": 7},
            priority=9,
            retries={"max": 1},
            not_before=datetime(2026, 12, 24, 18, tzinfo=UTC),
            expires_at=None,
            body=b"\xff",
            method="PUT",
        )
    assert gateway.requests == [
        {
            "url": URL,
            "labels": ["shop"],
            "attrs": {"sku": 7},
            "priority": 9,
            "retries": {"max": 1},
            "not_before": "2026-12-24T18:00:00+00:00",
            "body": {"base64": "/w=="},
            "method": "PUT",
        }
    ]


async def test_time_that_nobody_knows_is_refused(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(ValueError, match="offset"):
            await client.submit(URL, not_before=datetime(2026, 12, 24))


async def test_gateway_can_be_asked_to_wait(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        fetch = await client.submit(URL, wait_seconds=1.5)
    assert fetch.is_succeeded
    assert gateway.preferences == ["wait=2"]


async def test_gateway_waits_for_us_instead_of_being_asked_again_and_again(gateway: PlayedGateway, api_key: str) -> None:
    identifier = gateway.promise({"url": URL})
    async with Client(gateway.url, api_key) as client:
        await client.wait(identifier, wait_seconds=10)
        await client.wait(identifier, wait_seconds=1000)
        await client.wait(identifier, wait_seconds=0.5)
    assert gateway.preferences == ["wait=9", "wait=9", "wait=20", None]


async def test_waiting_gateway_has_its_time_besides_the_usual(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key, timeout_seconds=0.1) as client:
        assert (await client.submit("http://slow.example/", wait_seconds=20)).is_succeeded


async def test_broken_connection_is_no_reason_for_a_second_fetch(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        assert (await client.submit("http://broken.example/")).status == "queued"
    assert gateway.posts["http://broken.example/"] == 3
    assert len(set(gateway.idempotency_keys)) == 1


async def test_first_request_with_the_same_key_is_waited_for(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        await client.submit("http://twice.example/", idempotency_key="order-7")
    assert gateway.idempotency_keys == ["order-7"] * 3


async def test_list_goes_on_over_its_pages(gateway: PlayedGateway, api_key: str) -> None:
    ids = [gateway.promise({"url": f"http://origin.example/{number}"}) for number in range(250)]
    async with Client(gateway.url, api_key) as client:
        found = [fetch.id async for fetch in client.list_fetches(status="succeeded", host="origin.example", label="a")]
    assert found == ids[::-1]
    assert [asked.get("cursor") for asked in gateway.lists] == [None, "100", "200"]
    assert {(asked["status"], asked["host"], asked["label"]) for asked in gateway.lists} == {("succeeded", "origin.example", "a")}


async def test_list_ends_at_its_limit(gateway: PlayedGateway, api_key: str) -> None:
    for number in range(250):
        gateway.promise({"url": f"http://origin.example/{number}"})
    async with Client(gateway.url, api_key) as client:
        assert len([fetch async for fetch in client.list_fetches(limit=120)]) == 120
    assert [asked["limit"] for asked in gateway.lists] == ["100", "20"]


async def test_fetch_is_cancelled_unless_it_has_ended(gateway: PlayedGateway, api_key: str) -> None:
    pending, ended = gateway.promise({"url": "http://never.example/"}), gateway.promise({"url": URL})
    async with Client(gateway.url, api_key) as client:
        assert (await client.cancel(pending)).status == "cancelled"
        with pytest.raises(ProblemError) as refusal:
            await client.cancel(ended)
        with pytest.raises(NotFound):
            await client.cancel(UNKNOWN_ID)
    assert refusal.value.status == 409


async def test_retry_is_a_new_fetch(gateway: PlayedGateway, api_key: str) -> None:
    first = gateway.promise({"url": URL})
    async with Client(gateway.url, api_key) as client:
        again = await client.retry(first)
    assert (again.id == first, again.url) == (False, URL)


async def test_plan_has_an_item_for_each_url_in_their_order(gateway: PlayedGateway, api_key: str) -> None:
    urls = [f"http://{'refused' if number % 2 else 'origin'}.example/{number}" for number in range(250)]
    async with Client(gateway.url, api_key) as client:
        items = await client.plan(urls)
    assert [item.url for item in items] == urls
    assert [item.is_refused for item in items[:2]] == [False, True]
    assert items[1].egress.reason == "deny_private"
    assert gateway.fetches == {}


async def test_content_that_breaks_off_is_saved_whole(gateway: PlayedGateway, api_key: str, tmp_path: Path) -> None:
    identifier = gateway.promise({"url": URL})
    gateway.broken_contents = 2
    async with Client(gateway.url, api_key) as client:
        await client.save_content(identifier, tmp_path / "page")
    assert (tmp_path / "page").read_bytes() == b"a\x00b\nc"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


async def test_content_that_never_comes_whole_leaves_nothing(gateway: PlayedGateway, api_key: str, tmp_path: Path) -> None:
    identifier = gateway.promise({"url": URL})
    gateway.broken_contents = 10
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(GatewayUnreachable):
            await client.save_content(identifier, tmp_path / "page")
    assert list(tmp_path.iterdir()) == []
