"""Shorten a stream without ever dropping an entry that some group has not acknowledged."""

from typing import Any

from redis.asyncio import Redis


async def trim_acknowledged(redis: Redis, stream: str, *, keep_after_ms: int) -> int:
    """Remove entries that every group acknowledged and that are older than `keep_after_ms` (Unix milliseconds).

    The bound is the lowest pending id of any group, or the last one delivered to it. Anything delivered later has a
    larger id, so reading first and trimming afterwards cannot drop work. Returns how many entries were removed.
    """
    groups = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
    if not groups:
        return 0
    bounds = [await _safe_bound(redis, stream, group) for group in groups]
    safe = min([*bounds, (keep_after_ms, 0)])
    return int(await redis.xtrim(stream, minid=f"{safe[0]}-{safe[1]}", approximate=False))


async def outstanding_since_ms(redis: Redis, stream: str) -> int | None:
    """When (Unix milliseconds) the oldest entry was written that some group has yet to acknowledge; maybe earlier, never later.

    None when all is acknowledged, or there is no stream.
    """
    groups = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
    behind = [group for group in groups if int(group["pending"]) or group["lag"] is None or int(group["lag"])]
    bounds = [await _safe_bound(redis, stream, group) for group in behind]
    return min(bounds)[0] if bounds else None


async def _safe_bound(redis: Redis, stream: str, group: dict[str, Any]) -> tuple[int, int]:
    pending = await redis.xpending(stream, group["name"])
    return _parse(pending["min"] if pending["pending"] else group["last-delivered-id"])


def _parse(identifier: bytes | str) -> tuple[int, int]:
    text = identifier.decode() if isinstance(identifier, bytes) else identifier
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence or 0)
