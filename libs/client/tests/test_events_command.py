"""`fetchwork events`: what has happened, and what comes."""

import asyncio
import json
import signal

from commands import Commands, end
from played_feed import PlayedFeed

URLS = [f"http://origin.example/{number}" for number in range(5)]


async def test_past_events_are_a_line_each(commands: Commands, feed: PlayedFeed) -> None:
    feed.add(*URLS)
    done = await commands.run("events")
    assert (done.code, len(done.out.splitlines())) == (0, 5)
    assert done.out.splitlines()[0] == f"2026-11-24T04:30:02Z  fetch.finished.v1  succeeded  {URLS[0]}  id-of-{URLS[0]}"
    assert done.err == "To go on: fetchwork events --after 5\n"


async def test_only_what_came_after_a_cursor(commands: Commands, feed: PlayedFeed) -> None:
    feed.add(*URLS)
    done = await commands.run("events", "--after", "3", "--json")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["event-4", "event-5"]


async def test_gap_is_said_and_is_no_event(commands: Commands, feed: PlayedFeed) -> None:
    feed.add(*URLS)
    feed.oldest = 4
    done = await commands.run("events", "--after", "1", "--json", "--label", "shop", "--batch", "b")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["event-5"]
    assert "the oldest that is has the cursor 4" in done.err
    assert (feed.queries[0]["label"], feed.queries[0]["batch_id"]) == ("shop", "b")


async def test_following_survives_breaks_and_interruption_says_how_to_go_on(commands: Commands, feed: PlayedFeed) -> None:
    feed.add(*URLS)
    feed.breaks = [2, 1]
    process = await commands.start("events", "--follow", "--json", "--after", "0")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        lines = [await process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGINT)
    done = await end(process)
    assert [json.loads(line)["cursor"] for line in lines] == ["1", "2", "3", "4", "5"]
    assert done.code == 130
    assert "fetchwork events --follow --after 5" in done.err


async def test_cursor_that_is_none_is_7(commands: Commands) -> None:
    assert (await commands.run("events", "--follow", "--after", "nonsense")).code == 7


async def test_wrong_key_is_3(commands: Commands) -> None:
    assert (await commands.run("events", "--follow", FETCHWORK_API_KEY="wrong")).code == 3
