"""The announcement: there while the worker is, gone as soon as it is not, back after an outage."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from common.streams.connection import connect_redis
from common.streams.names import TRAIN_WORKER_KEY_PREFIX, WORKER_KEY_PREFIX
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from redis.asyncio import Redis

from fetcher.announce import ANNOUNCE_EXPIRY_MS, announce

Until = Callable[..., Awaitable[Any]]
KEY = f"{WORKER_KEY_PREFIX}w-1"
TRAIN_KEY = f"{TRAIN_WORKER_KEY_PREFIX}w-1"


async def test_keys_say_the_slots_expire_by_themselves_and_go_with_the_worker(broker: Redis, until: Until) -> None:
    stopping = asyncio.Event()
    announcing = asyncio.create_task(announce(broker, worker="w-1", slots=7, stopping=stopping))
    assert await until(lambda: broker.get(KEY)) == b"7"
    assert await broker.get(TRAIN_KEY) == b"7"  # there already: who sees the one key must see the other
    for key in (KEY, TRAIN_KEY):
        assert 0 < await broker.pttl(key) <= ANNOUNCE_EXPIRY_MS
    stopping.set()
    await asyncio.wait_for(announcing, timeout=1)
    assert await broker.mget(KEY, TRAIN_KEY) == [None, None]


async def test_announcement_resumes_after_an_outage(until: Until, tmp_path: Any) -> None:
    port, stopping = free_port(), asyncio.Event()
    first = embedded_redis(tmp_path, is_durable=False, port=port)
    url = first.__enter__()
    client = connect_redis(url, timeout_seconds=2)
    announcing = asyncio.create_task(announce(client, worker="w-1", slots=7, stopping=stopping))
    await until(lambda: client.get(KEY))
    first.__exit__(None, None, None)
    with embedded_redis(tmp_path, is_durable=False, port=port):
        assert await until(lambda: client.get(KEY)) == b"7" == await client.get(TRAIN_KEY)
        stopping.set()
        await asyncio.wait_for(announcing, timeout=5)
    await client.aclose()
