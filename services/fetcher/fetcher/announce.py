"""Tell the dispatcher that this worker is here and how many slots it has: a key in the broker with a short expiry.

No key, no dispatch: a worker that dies or hangs stops being given work within seconds, without anyone noticing for it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from common.chassis.lifecycle import rest_unless
from common.streams.names import WORKER_KEY_PREFIX
from redis.asyncio import Redis
from redis.exceptions import RedisError

ANNOUNCE_INTERVAL_SECONDS = 1.0
ANNOUNCE_EXPIRY_MS = 5000

log = structlog.get_logger()


async def announce(broker: Redis, *, worker: str, slots: int, stopping: asyncio.Event) -> None:
    """Keep the key alive until `stopping` is set, then delete it. Survives any outage of the broker."""
    key, is_lost = WORKER_KEY_PREFIX + worker, False
    while not stopping.is_set():
        failure = await _try(lambda: broker.set(key, slots, px=ANNOUNCE_EXPIRY_MS))
        if failure and not is_lost:
            log.warning("announcement failed", worker=worker, error=failure)
        if is_lost and not failure:
            log.info("announcement resumed", worker=worker)
        is_lost = failure is not None
        await rest_unless(stopping, ANNOUNCE_INTERVAL_SECONDS)
    await _try(lambda: broker.delete(key))


async def _try(call: Callable[[], Awaitable[object]]) -> str | None:
    try:
        await call()
    except (RedisError, OSError) as error:
        return type(error).__name__
    return None
