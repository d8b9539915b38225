"""Commands on the broker Redis: how many wait there, and how to have some that no worker takes."""

from typing import Any

from common.streams.names import COMMAND_QUEUE

from harness.cluster import Cluster
from harness.load import Load
from harness.waiting import meet_hosts, wait_for


async def commands(cluster: Cluster) -> int:
    """How many messages wait for a worker."""
    async with cluster.redis("broker") as broker:
        return int(await broker.llen(COMMAND_QUEUE))


async def fill_the_queue(cluster: Cluster, load: Load, count: int, **request: Any) -> int:
    """Submit so many fetches, and leave them as commands that no worker takes: the only one stands still.

    How many messages they are.
    """
    await meet_hosts(cluster, load)
    cluster.freeze("fetcher")
    await wait_for("the end of the frozen worker's BRPOP", lambda: _nobody_waits(cluster))
    await load.submit_many(count, **request)

    async def all_sent() -> bool:
        async with cluster.database() as connection:
            return await connection.fetchval("SELECT count(*) FROM fetch_queue WHERE state = 'running'") == count

    await wait_for("every fetch to be out", all_sent)
    waiting = await commands(cluster)
    assert waiting > 0, "the worker that stands still took them all"
    return waiting


async def given_out_again(cluster: Cluster) -> int:
    """How many fetches were given out more than once so far."""
    async with cluster.database() as connection:
        count: int = await connection.fetchval(
            "SELECT (SELECT count(*) FROM fetch_queue WHERE dispatch_seq > 1)"
            " + (SELECT count(*) FROM witness.dispatches WHERE dispatch_seq > 1)"
        )
        return count


async def _nobody_waits(cluster: Cluster) -> bool:
    async with cluster.redis("broker") as broker:
        return bool((await broker.info("clients"))["blocked_clients"] == 0)
