"""Tell the dispatcher that this worker is here and how many slots it has: keys in the broker with a short expiry.

One key says that it takes commands, the other that it knows trains; workers of an older release set the first only. Without
keys there is no dispatch: a worker that dies or hangs stops being given work within seconds, without anyone noticing for it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from common.chassis.lifecycle import rest_unless
from common.streams.names import TRAIN_WORKER_KEY_PREFIX, WORKER_KEY_PREFIX
from redis.asyncio import Redis
from redis.exceptions import RedisError

ANNOUNCE_INTERVAL_SECONDS = 1.0
ANNOUNCE_EXPIRY_MS = 5000

log = structlog.get_logger()


async def announce(broker: Redis, *, worker: str, slots: int, stopping: asyncio.Event) -> None:
    """Keep both keys alive until `stopping` is set, then delete them. Survives any outage of the broker."""
    # That it knows trains is said first: at no moment must it look like a worker that does not.
    keys, is_lost = (TRAIN_WORKER_KEY_PREFIX + worker, WORKER_KEY_PREFIX + worker), False
    while not stopping.is_set():
        failure = await _try(lambda: _announce_once(broker, keys, slots=slots))
        if failure and not is_lost:
            log.warning("announcement failed", worker=worker, error=failure)
        if is_lost and not failure:
            log.info("announcement resumed", worker=worker)
        is_lost = failure is not None
        await rest_unless(stopping, ANNOUNCE_INTERVAL_SECONDS)
    await _try(lambda: broker.delete(*keys))


async def _announce_once(broker: Redis, keys: tuple[str, ...], *, slots: int) -> None:
    for key in keys:
        await broker.set(key, slots, px=ANNOUNCE_EXPIRY_MS)


async def _try(call: Callable[[], Awaitable[object]]) -> str | None:
    try:
        await call()
    except (RedisError, OSError) as error:
        return type(error).__name__
    return None
