"""Does this worker still take commands? Watched from outside Celery, by what it does and not by what it answers.

A worker that lost its consumer, as one does whose connection is half open, answers pings, runs its timers and takes nothing.
So the proof of life is the queue: it is empty, or there is no slot for more of it, or a command was taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from common.chassis.health import Unhealthy
from common.chassis.lifecycle import rest_unless
from common.clock import Clock
from common.streams.names import COMMAND_QUEUE
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fetcher.slots import Slots

LOOK_SECONDS = 1.0
SLEPT_SECONDS = 5.0
"""From one look to the next: longer, and the whole process was frozen, its Celery consumer too."""

log = structlog.get_logger()


class Progress:
    """When this worker last made progress. `note_taken` is for any thread, the rest for the loop.

    A worker that made none for `stuck_seconds` is stuck (`is_stuck`, for good): only a new process helps, and the leases
    recover what it held. While the broker is away nobody could make any, and that counts as progress: readiness tells of it.
    """

    def __init__(
        self,
        slots: Slots,
        *,
        stuck_seconds: float,
        clock: Clock,
        now: Callable[[], float],
        registry: CollectorRegistry,
    ) -> None:
        self._slots = slots
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._now = now
        self._taken = self._taken_at_last_look = 0
        self._at = self._looked_at = now()
        self.is_stuck = False
        self._timestamp = Gauge(
            "fetchwork_worker_progress_timestamp_seconds",
            "When this worker last took a command, or had none to take or no slot for it.",
            registry=registry,
        )
        self._timestamp.set(clock().timestamp())
        self._stuck = Counter("fetchwork_worker_stuck", "Times that this worker ended itself as stuck.", registry=registry)

    def note_taken(self) -> None:
        """A command came out of the queue."""
        self._taken += 1

    def look(self, waiting: int | None) -> None:
        """Judge what there is now: how many commands wait in the queue, None when the broker cannot say."""
        took, self._taken_at_last_look = self._taken != self._taken_at_last_look, self._taken
        now, slept = self._now(), self._now() - self._looked_at > SLEPT_SECONDS
        self._looked_at = now
        if took or not waiting or self._slots.free == 0 or slept:  # who was frozen gets the time anew
            self._at = now
            self._timestamp.set(self._clock().timestamp())
        elif now - self._at >= self._stuck_seconds:
            self.is_stuck = True

    async def check(self) -> None:
        """Raise when the worker is stuck."""
        if self.is_stuck:
            raise Unhealthy(f"took none of the waiting commands for {self._stuck_seconds:g} s, with slots free")

    async def watch(self, broker: Redis, *, stopping: asyncio.Event, stuck: Sequence[asyncio.Event]) -> None:
        """Look every second until `stopping` is set; set all events of `stuck` and end when the worker is stuck."""
        while not stopping.is_set():
            self.look(await _waiting(lambda: broker.llen(COMMAND_QUEUE)))
            if self.is_stuck:
                self._stuck.inc()
                log.error("worker stuck", seconds=self._stuck_seconds, free_slots=self._slots.free)
                for event in stuck:
                    event.set()
                return
            await rest_unless(stopping, LOOK_SECONDS)


async def _waiting(ask: Callable[[], Awaitable[int]]) -> int | None:
    try:
        return await ask()
    except (RedisError, OSError):
        return None
