"""What the broker Redis says of the fetchers: how many slots they announce, and whether the broker was wiped."""

import asyncio
from dataclasses import dataclass

from common.streams.names import BROKER_MARKER, TRAIN_WORKER_KEY_PREFIX, WORKER_KEY_PREFIX
from redis.asyncio import Redis

WORKERS_LIMIT = 10_000
SCAN_COUNT = 500
READ_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerState:
    """Slots announced by all live workers, how many workers those are, and whether the marker is still there.

    `knows_trains` when all of those slots are of workers that know trains.
    """

    slots: int
    workers: int
    has_marker: bool
    knows_trains: bool = False


async def read_broker(redis: Redis) -> BrokerState:
    """One look at the broker. Announcements expire by themselves, so a dead worker's slots vanish in seconds.

    Raises redis errors and TimeoutError.
    """
    async with asyncio.timeout(READ_TIMEOUT_SECONDS):
        has_marker = bool(await redis.exists(BROKER_MARKER))
        slots = await _announced(redis, WORKER_KEY_PREFIX)
        with_trains = await _announced(redis, TRAIN_WORKER_KEY_PREFIX)
    return BrokerState(
        slots=sum(slots), workers=len(slots), has_marker=has_marker, knows_trains=sum(with_trains) >= sum(slots)
    )


async def _announced(redis: Redis, prefix: str) -> list[int]:
    keys: list[bytes] = []
    async for key in redis.scan_iter(match=f"{prefix}*", count=SCAN_COUNT):
        keys.append(key)
        if len(keys) >= WORKERS_LIMIT:
            break
    values = await redis.mget(keys) if keys else []
    return [int(value) for value in values if value is not None]


async def set_marker(redis: Redis) -> None:
    """Leave the marker whose absence will tell that the broker was wiped."""
    await redis.set(BROKER_MARKER, b"1")
