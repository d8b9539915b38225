"""How fast one worker may go on one host: the gap from the end of one exchange to the start of the next.

Counts only what happens here; that no other worker is on the host at the same time is the store's business.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

TICK_SECONDS = 0.001
"""Timers of the event loop count in milliseconds and may ring a little early: then this much more is slept."""


class Pace:
    """The gap on `host`, in seconds. Exchanges with other hosts neither wait for it nor renew it."""

    def __init__(self, host: str | None, *, delay_seconds: float = 0.0, now: Callable[[], float] = monotonic) -> None:
        self.host = host
        self.delay_seconds = delay_seconds
        self.now = now
        self._opens_at = now()
        self._is_exchanging = False
        self._has_exchanged = False

    @property
    def opens_at(self) -> float:
        """When the next exchange on the host may start, on the clock `now`."""
        return self._opens_at

    def seconds_left(self, host: str | None) -> float:
        """How long an exchange with `host` still has to wait; 0 for any host but ours."""
        return max(0.0, self._opens_at - self.now()) if host == self.host else 0.0

    def slow_to(self, delay_seconds: float) -> None:
        """From the next exchange on keep at least this gap; a shorter one changes nothing."""
        self.delay_seconds = max(self.delay_seconds, delay_seconds)

    def begin(self, host: str) -> None:
        """An exchange with `host` starts now."""
        self._is_exchanging = host == self.host
        self._has_exchanged |= self._is_exchanging

    def end(self) -> None:
        """The exchange that was begun, if any, has ended now. Idempotent."""
        if self._is_exchanging:
            self._is_exchanging = False
            self._opens_at = self.now() + self.delay_seconds

    def finish(self) -> None:
        """An attempt is over: if it asked the host for anything the gap begins now, whoever was asked last."""
        self.end()
        if self._has_exchanged:
            self._has_exchanged = False
            self._opens_at = self.now() + self.delay_seconds

    def exchanged(self, host: str) -> None:
        """An exchange with `host` that was not begun here has ended just now."""
        self.begin(host)
        self.end()


async def sleep_until(at: float, *, now: Callable[[], float] = monotonic) -> None:
    """Sleep until `now` says `at`, and never wake before."""
    while (seconds := at - now()) > 0:
        await asyncio.sleep(max(seconds, TICK_SECONDS))
