"""Keep every entry of a stream as it is written, also those that are trimmed soon after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.cluster import Cluster

BLOCK_MS = 200

Fields = dict[bytes, bytes]
Captured = dict[str, list[tuple[str, Fields]]]
"""By stream: its entries in order, each with its id."""


@asynccontextmanager
async def capturing(cluster: Cluster, *streams: str) -> AsyncIterator[Captured]:
    """A reader of its own, beside every group, for as long as the context is open."""
    captured: Captured = {stream: [] for stream in streams}

    async def read() -> None:
        places: dict[str, str] = dict.fromkeys(streams, "0")
        async with cluster.redis("events") as events:
            while True:
                reply = await events.xread(places, block=BLOCK_MS)
                for stream, batch in reply.items() if isinstance(reply, dict) else reply:
                    name = stream.decode() if isinstance(stream, bytes) else stream
                    for identifier, fields in batch[0] if batch and isinstance(batch[0], list) else batch:
                        text = identifier.decode() if isinstance(identifier, bytes) else identifier
                        captured[name].append((text, fields))
                        places[name] = text

    reading = asyncio.create_task(read())
    try:
        yield captured
        assert not reading.done(), "the reader ended"
    finally:
        reading.cancel()
