"""Shortens the streams: acknowledged entries go after their retention; unacknowledged work is never touched."""

from common.clock import Clock
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, FEED_STREAM
from common.streams.trim import trim_acknowledged
from redis.asyncio import Redis

REST_SECONDS = 1.0


class StreamTrimmer:
    """The loop that bounds the memory of the events Redis."""

    name = "stream trimmer"

    def __init__(self, *, redis: Redis, clock: Clock, accepted_retention_seconds: float, feed_retention_seconds: float) -> None:
        self._redis = redis
        self._clock = clock
        self._accepted_retention_seconds = accepted_retention_seconds
        self._feed_retention_seconds = feed_retention_seconds

    async def run_once(self) -> float:
        """Trim all three streams once."""
        now_ms = int(self._clock().timestamp() * 1000)
        await trim_acknowledged(self._redis, ATTEMPTED_STREAM, keep_after_ms=now_ms)
        await trim_acknowledged(self._redis, ACCEPTED_STREAM, keep_after_ms=now_ms - int(self._accepted_retention_seconds * 1000))
        await self._redis.xtrim(FEED_STREAM, minid=str(now_ms - int(self._feed_retention_seconds * 1000)), approximate=True)
        return REST_SECONDS
