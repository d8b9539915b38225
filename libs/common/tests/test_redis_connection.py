"""A connection that was reset is an error of Redis, and is tried once more, under the event loop that services run on."""

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
