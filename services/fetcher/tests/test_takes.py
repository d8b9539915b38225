"""A message that comes twice is run once, by whichever worker takes it first; where nobody can tell, by none."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from common.streams.connection import connect_redis
from common.streams.names import TAKEN_KEY_PREFIX
from fetchwork_local.ports import free_port
from redis.asyncio import Redis
from tasks_rig import message_of

from fetcher.errors import TakeUnknown
from fetcher.takes import SLACK_SECONDS, Takes

pytest_plugins = ["tasks_fixtures"]

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]


async def test_of_all_who_ask_one_is_the_first_for_as_long_as_the_lease(broker: Redis) -> None:
    workers = [Takes(broker) for _ in range(8)]
    answers = await asyncio.gather(*(worker.is_first("m-1", lease_seconds=30) for worker in workers))
    assert sorted(answers) == [False] * 7 + [True]
    assert await workers[0].is_first("m-2", lease_seconds=30)
    for message, seconds in (("m-1", 30), ("m-3", -1)):
        await workers[0].is_first(message, lease_seconds=seconds)
        lifetime_ms = await broker.pttl(TAKEN_KEY_PREFIX + message)
        assert 0 < lifetime_ms <= (max(0, seconds) + SLACK_SECONDS) * 1000


async def test_a_message_that_comes_twice_is_requested_once(
    rig: Any, serve: Serve, command: Any, until: Until, broker: Redis
) -> None:
    hits: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        hits.append(request.path)
        return web.Response(text="ok")

    base = await serve({"/{name}": answer})
    first, second = rig(takes=Takes(broker)), rig(takes=Takes(broker))
    message = message_of(command(f"{base}/a", method="POST"), command(f"{base}/b"))
    for it in (first, first, second):
        await asyncio.to_thread(it.tasks.take_batch, message)
    await until(lambda: len(first.published.outcomes) == 2)
    assert sorted(hits) == ["/a", "/b"] and second.published.outcomes == []
    assert [it.sample("commands_dropped_total", reason="repeated") for it in (first, second)] == [2, 2]
    assert first.slots.free == first.slots.count


async def test_a_message_of_which_nobody_can_tell_is_left_to_its_lease(rig: Any, serve: Serve, command: Any) -> None:
    nowhere = connect_redis(f"redis://127.0.0.1:{free_port()}/0", timeout_seconds=1)
    it = rig(takes=Takes(nowhere, try_seconds=0.5))
    await it.take(command(await serve({})))
    assert it.sample("commands_dropped_total", reason="unconfirmed") == 1
    assert it.published.outcomes == []
    await nowhere.aclose()


async def test_a_broker_that_fails_for_a_moment_is_asked_again(broker: Redis) -> None:
    limit = (await broker.config_get("maxmemory"))["maxmemory"]
    await broker.config_set("maxmemory", 1)
    try:
        asking = asyncio.create_task(Takes(broker).is_first("m-6", lease_seconds=30))
        await asyncio.sleep(0.3)  # longer than the first try takes, which is refused
        assert not asking.done()
    finally:
        await broker.config_set("maxmemory", limit)
    assert await asking


async def test_a_user_without_the_right_still_works(broker: Redis) -> None:
    await broker.execute_command("ACL", "SETUSER", "older", "on", ">older", "resetkeys", "-@all", "+ping", "+client|setinfo")
    try:
        place = broker.connection_pool.connection_kwargs
        older = connect_redis(f"redis://older:older@{place['host']}:{place['port']}/0")
        assert await Takes(older).is_first("m-4", lease_seconds=1)
        await older.aclose()
    finally:
        await broker.execute_command("ACL", "DELUSER", "older")


async def test_a_broker_that_stalls_holds_a_thread_up_for_no_longer_than_its_client(broker: Redis) -> None:
    await broker.execute_command("CLIENT", "PAUSE", 3000)
    hasty = connect_redis(_url_of(broker), timeout_seconds=0.2)
    try:
        with pytest.raises(TakeUnknown):
            await Takes(hasty).is_first("m-5", lease_seconds=1)
    finally:
        await hasty.aclose()
        await broker.execute_command("CLIENT", "UNPAUSE")


def _url_of(broker: Redis) -> str:
    arguments = broker.connection_pool.connection_kwargs
    return f"redis://:{arguments.get('password') or ''}@{arguments['host']}:{arguments['port']}/0"
