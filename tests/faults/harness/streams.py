"""What the events Redis has on its streams, as an administrator reads it."""

import json

from common.streams.names import ACCEPTED_STREAM

from harness.cluster import Cluster


async def accepted_ids(cluster: Cluster) -> set[str]:
    """The ids of all fetches on the stream of accepted ones, ingested or not: entries are kept for a day."""
    async with cluster.redis("events") as events:
        entries = await events.xrange(ACCEPTED_STREAM)
    found = (json.loads(fields[b"event"])["data"]["fetches"] for _, fields in entries)
    return {fetch["id"] for fetches in found for fetch in fetches}
