"""Watch, from inside, whether a process can do its work: its dependencies every few seconds, its event loop all the time.

Done here and not while Prometheus asks: a scrape never waits for a dependency, two Prometheus servers ask it no more often than
one, and a process that nobody scrapes has tried its dependencies all the same.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping

from common.chassis.health import Check, run_checks
from common.chassis.metrics import ChassisMetrics

WATCH_SECONDS = 5.0
TICK_SECONDS = 0.25
LAG_WINDOW_SECONDS = 60.0


class Watcher:
    """Tries the dependencies every `every_seconds` on the running loop; a failed one shows as 0. Never raises."""

    def __init__(
        self, dependencies: Mapping[str, Check], *, metrics: ChassisMetrics, every_seconds: float = WATCH_SECONDS
    ) -> None:
        self._dependencies = dependencies
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._lag = LoopLag()

    async def run(self) -> None:
        """Watch until cancelled, beginning at once."""
        self._metrics.event_loop_lag.set_function(lambda: self._lag.worst(now=time.monotonic()))
        async with asyncio.TaskGroup() as both:
            both.create_task(self._look_again())
            both.create_task(self._lag.run())

    async def look(self) -> None:
        """Try every dependency once, all at the same time, and show what came of it."""
        report = await run_checks(self._dependencies)
        for dependency, reason in report.results.items():
            self._metrics.dependency_up.labels(dependency=dependency).set(reason is None)
        self._metrics.dependency_checked.set_to_current_time()

    async def _look_again(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._every_seconds)


class LoopLag:
    """How late an event loop wakes who sleeps on it: `run` does. `worst` may be asked from any thread, also while it hangs."""

    def __init__(self) -> None:
        self._due_at = float("inf")
        self._lags: deque[tuple[float, float]] = deque(maxlen=int(LAG_WINDOW_SECONDS / TICK_SECONDS))

    def worst(self, *, now: float) -> float:
        """Seconds, 0 or more: the longest of the last minute, or what the loop is behind just now."""
        recent = [lag for woken_at, lag in tuple(self._lags) if woken_at > now - LAG_WINDOW_SECONDS]
        return max([0.0, now - self._due_at, *recent])

    def woke(self, *, now: float) -> None:
        """The loop came back at `now`; it sleeps for another tick."""
        if self._due_at <= now:
            self._lags.append((now, now - self._due_at))
        self._due_at = now + TICK_SECONDS

    async def run(self) -> None:
        """Sleep, a tick at a time, until cancelled."""
        try:
            while True:
                self.woke(now=time.monotonic())
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._due_at = float("inf")
