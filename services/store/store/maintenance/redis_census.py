"""Asks a Redis how it is, for the gauges: memory, persistence, and on the broker how many commands wait."""

from math import nan

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from store.server_metrics import ServerMetrics

REST_SECONDS = 5.0

log = structlog.get_logger()


class RedisCensus:
    """The loop that asks one Redis, and the length of its list `commands` if it has one.

    A Redis whose rules do not let us ask, which are those of an earlier release, is no fault: we say so once, and its gauges have
    no series until it lets us.
    """

    def __init__(self, redis_name: str, *, redis: Redis, metrics: ServerMetrics, commands: str | None = None) -> None:
        self.name = f"redis census {redis_name}"
        self._redis_name = redis_name
        self._redis = redis
        self._metrics = metrics
        self._commands = commands
        self._has_warned = False

    async def run_once(self) -> float:
        """Set every gauge once. What cannot be known now is no longer shown."""
        try:
            if self._commands is not None:
                self._metrics.broker_commands.set(await self._redis.llen(self._commands))
            self._metrics.show_redis(self._redis_name, await self._redis.info("memory", "persistence"))
        except NoPermissionError as error:
            self._forget()
            if not self._has_warned:
                log.warning("our user may not ask this Redis how it is", redis=self._redis_name, reason=str(error)[:300])
            self._has_warned = True
        except Exception:
            self._forget()
            raise
        return REST_SECONDS

    def _forget(self) -> None:
        self._metrics.forget_redis(self._redis_name)
        if self._commands is not None:
            self._metrics.broker_commands.set(nan)
