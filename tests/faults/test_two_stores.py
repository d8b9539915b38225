"""Case 14: of two stores one freezes with work in its hands; the other goes on, and what the first does later changes nothing."""

import pytest
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, STORE_GROUP
from harness.checker import assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.load import open_load
from harness.waiting import wait_for

BURST = 30
FROZEN = "store-2"
LOCKS_SECONDS = 20.0
"""After so long Postgres ends any transaction (`transaction_timeout`)."""
GOES_ON_SECONDS = LOCKS_SECONDS + 15.0
"""The locks, a rest after a failed pass, a take-over every five seconds, and the work, on a busy machine."""

STEPS = {
    "accepted entries delivered": ("before:store.handlers:AcceptHandler.apply!STOP", ACCEPTED_STREAM),
    "accepted entries applied": ("after:store.handlers:AcceptHandler.apply!STOP", ACCEPTED_STREAM),
    "accepted entries committed": ("before:store.handlers:AcceptHandler.settle!STOP", ACCEPTED_STREAM),
    "outcomes delivered": ("before:store.handlers:RecordHandler.apply!STOP", ATTEMPTED_STREAM),
    "outcomes applied": ("after:store.handlers:RecordHandler.apply!STOP", ATTEMPTED_STREAM),
    "outcomes committed": ("before:store.handlers:RecordHandler.settle!STOP", ATTEMPTED_STREAM),
    "hosts locked": ("after:store.dispatch.claim:settle_hosts!STOP", None),
    "commands unsent": ("before:store.dispatch.dispatcher:Dispatcher._send!STOP", None),
    "turn at the feed": ("before:store.outbox.relay:append_to_feed!STOP", None),
}


@pytest.mark.parametrize("step", STEPS)
async def test_case_14_a_frozen_store_holds_nobody_up_and_comes_back_too_late(open_case: OpenCluster, step: str) -> None:
    failpoint, stream = STEPS[step]
    async with open_case() as cluster, open_load(cluster, prefix=f"c14-{step.replace(' ', '-')}") as load:
        cluster.add_replica("store", FROZEN)
        cluster.change(FROZEN, FAILPOINT=failpoint)
        await cluster.boot()
        while not cluster.notices_frozen(FROZEN):
            await load.submit_many(BURST)
        if stream is not None:
            assert await _pending_of(cluster, stream, f"store-{FROZEN}") > 0
        await load.submit_many(BURST)
        await wait_for(
            "the other store has finished and announced everything",
            lambda: _is_done(cluster),
            seconds=GOES_ON_SECONDS,
            instead=lambda: _left(cluster),
        )
        cluster.thaw(FROZEN)
        await cluster.wait_ready()
        await load.submit_many(BURST)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": len(load.submitted)}


async def _pending_of(cluster: Cluster, stream: str, consumer: str) -> int:
    async with cluster.redis("events") as events:
        return len(await events.xpending_range(stream, STORE_GROUP, "-", "+", 1000, consumername=consumer))


async def _left(cluster: Cluster) -> str:
    """What is under way, for who asks why it is not done; and what the other store says of itself."""
    async with cluster.database() as connection:
        queue = await connection.fetch("SELECT id, state, waiting, dispatch_seq, run_at - now() AS due_in FROM fetch_queue")
        outbox = await connection.fetchval("SELECT count(*) FROM outbox")
    return f"{outbox} in the outbox, in the queue {list(map(tuple, queue))}; {cluster.log('store')[-3000:]}"


async def _is_done(cluster: Cluster) -> bool:
    async with cluster.database() as connection, cluster.redis("events") as events:
        if await events.hlen("fetchwork:v1:ingesting"):
            return False
        return not await connection.fetchval(
            "SELECT (SELECT count(*) FROM fetch_queue) + (SELECT count(*) FROM outbox)"
        )
