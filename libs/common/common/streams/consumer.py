"""One member of one consumer group on one stream: read, take over, acknowledge, trim.

Delivery is at least once. An entry is acknowledged only after its effect is committed; a member that dies leaves its
entries pending, and it (same name) or another (after `min_idle`) takes them over. Names are stable and members are
never deleted, because deleting a member makes its pending entries unreachable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.streams.names import BODY_FIELD, EVENT_FIELD

CLAIM_SCAN_LIMIT = 50
"""XAUTOCLAIM calls in one take-over at most; each looks at ten times its COUNT."""
OLDEST_ENTRIES = 100
"""How many pending entries are asked how long they have been idle. What is stuck is among the oldest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """One delivered entry: its stream id, the envelope's bytes, and the body beside it."""

    id: str
    event: bytes
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """What a take-over found: entries now ours, and ids trimmed while pending, which is a loss to shout about."""

    entries: list[StreamEntry]
    lost_ids: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unacknowledged:
    """What a group was delivered and did not acknowledge, and for how long nobody has been delivered it again."""

    entries: int
    idle_seconds: float


class StreamMember:
    """A named member of a consumer group. Not safe for concurrent use by two tasks."""

    def __init__(self, redis: Redis, *, stream: str, group: str, name: str, count: int, block_ms: int) -> None:
        self.stream = stream
        self.group = group
        self._redis = redis
        self._name = name
        self.count = count
        self._block_ms = block_ms

    async def has_group(self) -> bool:
        """Whether stream and group are there. Nothing of ours removes either: where they were and are not, Redis was wiped."""
        return any(_text(info["name"]) == self.group for info in await self._groups())

    async def ensure_group(self) -> None:
        """Create the group at 0, never at `$`: entries older than the group must be read too. Idempotent."""
        try:
            await self._redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read_own_pending(self, after: str) -> list[StreamEntry]:
        """Entries delivered to this name before and not acknowledged, above id `after`; empty when there are none left."""
        return await self._read(after, block_ms=None)

    async def read_new(self) -> list[StreamEntry]:
        """Entries never delivered to anyone; waits up to the block time for the first. Raises redis errors."""
        return await self._read(">", block_ms=self._block_ms)

    async def take_over(self, *, min_idle_ms: int) -> TakenOver:
        """Entries that any member left idle for `min_idle_ms` or more (XAUTOCLAIM), at most one batch."""
        cursor, entries, lost = "0-0", list[StreamEntry](), list[str]()
        for _ in range(CLAIM_SCAN_LIMIT):
            reply = await self._redis.xautoclaim(
                self.stream, self.group, self._name, min_idle_time=min_idle_ms, start_id=cursor, count=self.count
            )
            cursor = _text(reply[0])
            entries += _entries(reply[1])
            lost += [_text(identifier) for identifier in reply[2]]
            if cursor == "0-0" or entries:
                break
        return TakenOver(entries=entries, lost_ids=lost)

    async def acknowledge(self, ids: Sequence[str]) -> None:
        """Mark entries as done. Call only after their effect is committed."""
        if ids:
            await self._redis.xack(self.stream, self.group, *ids)

    async def lag(self) -> int:
        """Entries not yet delivered plus entries pending, for this group; 0 before there is a stream."""
        for info in await self._groups():
            if _text(info["name"]) == self.group:
                return int(info["lag"] or 0) + int(info["pending"])
        return 0

    async def unacknowledged(self) -> Unacknowledged:
        """What this group's members have and did not acknowledge; idle for longest is looked for among the oldest entries."""
        if not await self._redis.exists(self.stream):
            return Unacknowledged(entries=0, idle_seconds=0.0)
        entries = int((await self._redis.xpending(self.stream, self.group))["pending"])
        oldest = await self._redis.xpending_range(self.stream, self.group, "-", "+", OLDEST_ENTRIES) if entries else []
        idle_ms = max((int(entry["time_since_delivered"]) for entry in oldest), default=0)
        return Unacknowledged(entries=entries, idle_seconds=idle_ms / 1000)

    async def _groups(self) -> list[dict[str, Any]]:
        return await self._redis.xinfo_groups(self.stream) if await self._redis.exists(self.stream) else []

    async def _read(self, after: str, *, block_ms: int | None) -> list[StreamEntry]:
        reply = await self._redis.xreadgroup(
            self.group, self._name, streams={self.stream: after}, count=self.count, block=block_ms
        )
        if not reply:
            return []
        streams = reply.items() if isinstance(reply, dict) else reply
        return [entry for _, batch in streams for entry in _entries(_flat(batch))]


def _flat(batch: list[Any]) -> list[Any]:
    """redis-py wraps a stream's entries in one more list under RESP3."""
    return batch[0] if batch and isinstance(batch[0], list) and (not batch[0] or isinstance(batch[0][0], tuple)) else batch


def _entries(raw: Sequence[Any]) -> list[StreamEntry]:
    return [
        StreamEntry(id=_text(identifier), event=fields.get(EVENT_FIELD, b""), body=fields.get(BODY_FIELD))
        for identifier, fields in raw
        if fields is not None
    ]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
