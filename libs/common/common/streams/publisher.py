"""Append events to a stream, several in one round trip, with an optional body beside each event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.contracts.envelope import Envelope
from common.streams.names import BODY_FIELD, EVENT_FIELD


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One event to append, with the bytes that travel beside it (already compressed), if any."""

    event: Envelope[Any]
    body: bytes | None = None


async def publish(redis: Redis, stream: str, publications: Sequence[Publication]) -> None:
    """Append all in order in one round trip. Raises redis errors; after one, each may or may not have been appended.

    Readers are idempotent by the ids inside, so publishing again is safe.
    """
    async with redis.pipeline(transaction=False) as pipeline:
        for publication in publications:
            fields: dict[Any, Any] = {EVENT_FIELD: publication.event.model_dump_json(exclude_none=True).encode()}
            if publication.body is not None:
                fields[BODY_FIELD] = publication.body
            pipeline.xadd(stream, fields)
        await pipeline.execute()
