"""The feed by the SDK: in order, without a gap or a doubling over broken connections."""

import asyncio
from contextlib import aclosing

import pytest
from fetchwork import Client, Event, NotAuthorized, ProblemError
from played_feed import BREAK_AT_ONCE, PlayedFeed
from played_gateway import PlayedGateway

URLS = [f"http://origin.example/{number}" for number in range(9)]


async def _take(client: Client, count: int, *, after: str | None = "0") -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20), aclosing(client.events(after=after)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_events_come_in_order_and_say_what_happened(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    async with Client(gateway.url, api_key) as client:
        found = await _take(client, 9)
    assert [event.data["url"] for event in found] == URLS
    assert (found[0].cursor, found[0].type, found[0].data["status"]) == ("1", "fetch.finished.v1", "succeeded")


async def test_broken_feed_is_taken_up_where_it_ended(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    feed.breaks = [2, BREAK_AT_ONCE, 3]
    async with Client(gateway.url, api_key) as client:
        found = await _take(client, 7, after="2")
    assert [event.cursor for event in found] == ["3", "4", "5", "6", "7", "8", "9"]
    assert feed.asked == [(None, "2"), ("4", None), ("4", None), ("7", None)]


async def test_feed_that_breaks_before_its_first_event_is_taken_up_where_it_began(
    gateway: PlayedGateway, feed: PlayedFeed, api_key: str
) -> None:
    feed.add(*URLS)
    feed.breaks, feed.added_at_break = [0], ["http://later.example/"]
    async with Client(gateway.url, api_key) as client:
        assert [event.data["url"] for event in await _take(client, 1, after=None)] == ["http://later.example/"]
    assert feed.asked == [(None, None), ("9", None)]


async def test_gateway_that_is_away_for_a_while_is_borne(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    feed.refusals = 3
    async with Client(gateway.url, api_key) as client:
        assert len(await _take(client, 9)) == 9


async def test_refusals_that_do_not_pass_are_raised_at_once(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, "wrong") as client:
        with pytest.raises(NotAuthorized):
            await _take(client, 1)
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(ProblemError):
            await _take(client, 1, after="nonsense")


async def test_past_events_end(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    async with Client(gateway.url, api_key) as client:
        found = [event async for event in client.past_events(after="1")]
    assert [event.data["url"] for event in found] == URLS[1:]
    assert [event.cursor for event in found] == ["1", "3", "3", "5", "5", "7", "7", "9"]


async def test_page_that_holds_nothing_for_us_is_not_the_end(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    feed.empty_pages = 3
    async with Client(gateway.url, api_key) as client:
        assert len([event async for event in client.past_events()]) == 6


async def test_feed_of_others_alone_comes_to_an_end(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.empty_pages = 1000
    async with Client(gateway.url, api_key) as client:
        assert [event async for event in client.past_events()] == []
    assert len(feed.asked) == 10


async def test_gap_is_told(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    feed.oldest = 7
    async with Client(gateway.url, api_key) as client:
        followed = await _take(client, 3, after="2")
        past = [event async for event in client.past_events(after="2")]
    for found in (followed, past):
        assert [event.type for event in found] == ["gap", "fetch.finished.v1", "fetch.finished.v1"]
        assert found[0].document == {"oldest": "7"}


async def test_filters_are_passed_on(gateway: PlayedGateway, feed: PlayedFeed, api_key: str) -> None:
    feed.add(*URLS)
    async with Client(gateway.url, api_key) as client:
        async with aclosing(client.events(after="0", label="shop", batch_id="b")) as events:
            await anext(events)
        await client.read_events(after="1", label="shop", batch_id="b", limit=7, wait_seconds=2)
    filters = {"label": "shop", "batch_id": "b"}
    assert feed.queries == [{"after": "0", **filters}, {"after": "1", "limit": "7", "wait": "2", **filters}]
