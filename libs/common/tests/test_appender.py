"""Sets of entries in one step of Redis's, with the rights that services have in containers, and without them."""

from collections.abc import Awaitable, Callable

import pytest
from common.streams.appender import Appender
from common.streams.names import ATTEMPTED_STREAM, FEED_STREAM
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

ENTRIES = [{b"event": b"%d" % number, b"body": bytes([0, 13, 10, number])} for number in range(5)] + [{b"event": b""}]


async def _kept(events: Redis, stream: str) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await events.xrange(stream)]


async def _calls(events: Redis, command: str) -> int:
    return int((await events.info("commandstats")).get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize(("service", "stream"), [("fetcher", ATTEMPTED_STREAM), ("store", FEED_STREAM)])
async def test_a_set_is_appended_in_order_by_one_command(
    events: Redis, events_as: Callable[[str], Awaitable[Redis]], service: str, stream: str
) -> None:
    appender = Appender(await events_as(service), stream)
    before = await _calls(events, "evalsha")
    await appender.append(ENTRIES)  # Redis does not know the script yet: one try more
    await appender.append(ENTRIES)
    assert await _kept(events, stream) == ENTRIES * 2
    assert 2 <= await _calls(events, "evalsha") - before <= 3
    await events.script_flush()
    await appender.append(ENTRIES[:1])
    assert await _kept(events, stream) == [*ENTRIES, *ENTRIES, ENTRIES[0]]


async def test_without_the_right_to_scripts_entries_are_appended_one_by_one(
    events: Redis, events_as: Callable[[str], Awaitable[Redis]]
) -> None:
    """As with the list of rights of the release before."""
    user = await events_as("fetcher")
    await events.execute_command("ACL", "SETUSER", "fetcher", "clearselectors")
    appender = Appender(user, ATTEMPTED_STREAM)
    await appender.append(ENTRIES)
    before = await _calls(events, "evalsha")
    await appender.append(ENTRIES)
    assert await _kept(events, ATTEMPTED_STREAM) == ENTRIES * 2 and await _calls(events, "evalsha") == before


async def test_the_script_lets_nobody_write_elsewhere(
    events: Redis, events_as: Callable[[str], Awaitable[Redis]]
) -> None:
    with pytest.raises(NoPermissionError):
        await Appender(await events_as("fetcher"), FEED_STREAM).append(ENTRIES)
    assert not await events.exists(FEED_STREAM)


async def test_nothing_is_appended_for_nothing(events: Redis) -> None:
    await Appender(events, FEED_STREAM).append([])
    assert not await events.exists(FEED_STREAM)
