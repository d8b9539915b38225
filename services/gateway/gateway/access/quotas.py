"""What a key may ask for in a minute, counted in the events Redis for all gateways together.

The counters are a sliding window counter of the library `limits`: two numbers a limit, the older of which weighs less and
less. A check and its charge are one script, so that no number of requests at once gets past a limit. A key without limits
costs no call.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import EventsUnavailable, Limit, QuotaExceeded
from gateway.principal import Principal

PREFIX = "fetchwork:v1:quota"
WINDOW_SECONDS = 60

_charged: ContextVar[dict[Limit, "Window"]] = ContextVar("charged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How much of a limit is used: the count of the minute before, which weighs as much as it has time left, and the current one.

    `current_seconds` is how long the current count is kept: the rest of its minute, and another as the minute before.
    """

    quota: int
    previous: int
    previous_seconds: float
    current: int
    current_seconds: float

    @property
    def remaining(self) -> int:
        """How much fits now."""
        return max(0, self.quota - self.current - floor(self.previous * self.previous_seconds / WINDOW_SECONDS))

    @property
    def seconds(self) -> int:
        """For how many seconds no more than that fits: the window's length when nothing is used."""
        return self._seconds_until(self.remaining + 1)

    def seconds_to_wait(self, cost: int) -> int:
        """In how many seconds a refused cost fits if nobody asks in between; for what never fits the length of the window."""
        return self._seconds_until(max(cost, self.remaining + 1))

    def _seconds_until(self, cost: int) -> int:
        room = self.quota - cost
        if room < 0:
            return WINDOW_SECONDS
        if self.current <= room:
            seconds = _shrinks_in(self.previous, self.previous_seconds, room - self.current)
        else:  # only once the current minute is the one before
            seconds = self.current_seconds - WINDOW_SECONDS + _shrinks_in(self.current, WINDOW_SECONDS, room)
        return max(1, ceil(seconds))


class Quotas:
    """The counters of all limited keys. Every call ends within the timeout."""

    def __init__(self, redis: Redis, *, timeout_seconds: float) -> None:
        pool: Any = redis.connection_pool  # with our timeouts and retries; the library takes it as one of its untyped options
        self._storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=PREFIX, connection_pool=pool)
        self._timeout_seconds = timeout_seconds

    async def charge_request(self, principal: Principal) -> None:
        """Count one request. Raises QuotaExceeded, and EventsUnavailable when nobody can count."""
        quota = principal.limits.requests_per_minute
        if quota is None:
            return
        obstacle = await self._charge(principal, Limit.REQUESTS, quota, cost=1)
        if obstacle:
            detail = f"This key may send {quota} requests a minute."
            raise QuotaExceeded(Limit.REQUESTS, obstacle.seconds_to_wait(1), detail)

    async def charge_fetches(self, principal: Principal, count: int) -> None:
        """Count fetches, all of them or none. Raises QuotaExceeded, and EventsUnavailable when nobody can count.

        Nothing gives them back when they cannot be accepted afterwards.
        """
        quota = principal.limits.fetches_per_minute
        if quota is None:
            return
        obstacle = await self._charge(principal, Limit.FETCHES, quota, cost=count)
        if obstacle:
            detail = f"This key may submit {quota} fetches a minute: {obstacle.remaining} now, and these are {count}."
            raise QuotaExceeded(Limit.FETCHES, obstacle.seconds_to_wait(count), detail)

    async def _charge(self, principal: Principal, limit: Limit, quota: int, *, cost: int) -> Window | None:
        """None when the cost was charged, else what stands in its way."""
        counter = RateLimitItemPerMinute(quota, namespace=limit).key_for(principal.key_id or principal.actor)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                fits = await self._storage.acquire_sliding_window_entry(counter, quota, WINDOW_SECONDS, cost)
                previous, previous_seconds, current, current_seconds = await self._storage.get_sliding_window(
                    counter, WINDOW_SECONDS
                )
        except (RedisError, OSError) as error:  # a timeout is an OSError
            raise EventsUnavailable(f"the quota was not counted: {type(error).__name__}") from error
        window = Window(
            quota=quota,
            previous=previous,
            previous_seconds=previous_seconds,
            current=current,
            current_seconds=current_seconds,
        )
        _charged.get({})[limit] = window
        return None if fits else window


@contextmanager
def noting_charges() -> Iterator[Mapping[Limit, Window]]:
    """What is charged inside, by limit, as it stood after the last charge. Belongs to the one request of this context."""
    charged: dict[Limit, Window] = {}
    token = _charged.set(charged)
    try:
        yield charged
    finally:
        _charged.reset(token)


def _shrinks_in(count: int, seconds_left: float, room: int) -> float:
    """Seconds until a count that has so much time left weighs no more than `room`; it is rounded down."""
    return seconds_left - (room + 1) * WINDOW_SECONDS / count if count else 0.0
