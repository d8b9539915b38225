"""A connection that was reset is tried once more, and whoever is cancelled ends, under the event loop that services run on."""

import asyncio
from contextlib import suppress

import uvloop
from common.streams.connection import connect_redis


def test_a_connection_that_was_reset_between_two_commands_is_opened_again(events_url: str) -> None:
    async def call() -> None:
        async with connect_redis(events_url) as redis, redis.client() as one:
            first = await one.client_id()
            wire = one.connection
            assert wire is not None and wire._writer is not None
            wire._writer.transport.abort()
            await wire._writer.wait_closed()
            assert await one.client_id() > first

    uvloop.run(call())


def test_whoever_is_cancelled_while_it_sends_ends(events_url: str) -> None:
    """At whichever turn of the loop the word comes; and the connection that it leaves gives nobody its answer."""

    async def cancel_after(turns: int) -> None:
        async with connect_redis(events_url) as redis, asyncio.timeout(10):

            async def ask_on() -> None:
                for _ in range(1000):
                    await redis.echo("before")

            await redis.echo("connected")
            asking = asyncio.create_task(ask_on())
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            assert asking.cancelled() and await redis.echo("after") == b"after"

    async def cancel_at_each() -> None:
        for turns in range(100):
            await cancel_after(turns)

    uvloop.run(cancel_at_each())
