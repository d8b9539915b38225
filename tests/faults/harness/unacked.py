"""What Celery still holds for dead workers: messages that it restores after ten minutes, when their leases are long over."""

import base64
import json
from datetime import datetime, timezone

from redis.asyncio import Redis

UNACKED = "unacked"
UNACKED_INDEX = "unacked_index"
UNACKED_MUTEX = "unacked_mutex"


async def unacked(broker: Redis) -> tuple[int, int]:
    """How many messages of it some worker may still run, and how many are void: all leases in them have ended."""
    now = datetime.now(timezone.utc)
    are_void = [max(_lease_ends(value)) < now for value in await broker.hvals(UNACKED)]
    return are_void.count(False), are_void.count(True)


def _lease_ends(value: bytes | str) -> list[datetime]:
    message = json.loads(value)[0]
    arguments, *_ = json.loads(base64.b64decode(message["body"]))
    return [datetime.fromisoformat(fetch["lease_ends_at"]) for fetch in json.loads(arguments[0])["data"]["fetches"]]
