"""Places for large bodies: how many of them this process holds in memory at once, whatever origins send.

A body up to `FREE_BYTES` takes none; slots bound those. One that grows beyond waits for a place, first come first served, and
keeps it until its outcome was reported and the bytes are gone. While it waits nothing is read, so that TCP holds the origin back.
An attempt has one place at most and waits for no other attempt while it has it, so that nobody waits for ever.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

FREE_BYTES = 256 * 1024
LARGE_BODIES_DEFAULT = 4


class LargeBodies:
    """A counted set of places. For the event loop. `on_wait` is told how long each wait took, also when it was in vain."""

    def __init__(self, count: int, *, on_wait: Callable[[float], None] = lambda _: None) -> None:
        self.count = count
        self.busy = 0
        self._free = asyncio.Semaphore(count)
        self._on_wait = on_wait

    def place(self) -> "Place":
        """For one attempt; not taken yet."""
        return Place(self)

    async def take(self) -> None:
        """Wait for one."""
        began = monotonic()
        try:
            await self._free.acquire()
        finally:
            self._on_wait(monotonic() - began)
        self.busy += 1

    def give_back(self) -> None:
        """Free one that was taken."""
        self.busy -= 1
        self._free.release()


class Place:
    """The one place of an attempt."""

    def __init__(self, places: LargeBodies) -> None:
        self._places = places
        self._is_taken = False
        self.is_awaited = False
        """While the attempt waits for it: a deadline that passes then is nobody's fault but ours."""

    async def make_room(self, size_bytes: int) -> None:
        """Return once a body may have grown to this size."""
        if size_bytes <= FREE_BYTES or self._is_taken:
            return
        self.is_awaited = True
        await self._places.take()
        self.is_awaited, self._is_taken = False, True

    def on_done(self, _: object) -> None:
        """As `give_back`, for whoever calls back when something is done."""
        self.give_back()

    def give_back(self) -> None:
        """The body is gone. Idempotent."""
        if self._is_taken:
            self._is_taken = False
            self._places.give_back()
