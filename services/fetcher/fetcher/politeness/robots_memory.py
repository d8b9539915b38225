"""What a process keeps of many origins: bounded by weight, the least recently used leaves first."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from common.contracts.fetches import RobotsEvidence
from common.contracts.robots import RobotsAvailability
from common.robots.rules import RobotsRules

ENTRY_WEIGHT = 256
"""What an origin weighs without any rule."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRobots:
    """One origin's robots.txt, read. Good until `expires_at`; kept beyond, to serve while the origin is unreachable.

    `waited` is how long such an origin is left alone, None when it answered. `blanket` is what holds for all of its URLs
    alike, None where rules decide.
    """

    origin: str
    availability: RobotsAvailability
    status: int | None
    rules: RobotsRules
    fetched_at: datetime
    expires_at: datetime
    waited: timedelta | None = None
    blanket: RobotsEvidence | None = None


class BoundedMemory(Generic[Value]):
    """A mapping by origin whose entries together never weigh more than `limit`; one that does by itself is not kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, origin: str) -> Value | None:
        """What is kept, expired or not."""
        entry = self._entries.get(origin)
        if entry is None:
            return None
        self._entries.move_to_end(origin)
        return entry[0]

    def put(self, origin: str, value: Value, *, weight: int = 0) -> None:
        """Keep this in place of what was kept, and forget others until it fits."""
        self.forget(origin)
        weight += ENTRY_WEIGHT
        if weight > self._limit:
            return
        self._entries[origin] = (value, weight)
        self._weight += weight
        while self._weight > self._limit:
            self.forget(next(iter(self._entries)))

    def forget(self, origin: str) -> None:
        """Drop what is kept, if anything."""
        entry = self._entries.pop(origin, None)
        if entry is not None:
            self._weight -= entry[1]
