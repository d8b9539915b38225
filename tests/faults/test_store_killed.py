"""Cases 11 to 13: the store is killed between any two of its steps, as a consumer of streams and as a dispatcher."""

import asyncio
import random
import signal
from collections.abc import Callable

import pytest
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, COMMAND_QUEUE, STORE_GROUP
from harness.checker import assert_kept
from harness.cluster import Cluster, Death, OpenCluster
from harness.load import Load, open_load

BURST = 30
LEASE_SECONDS = 5.0
"""The timeout of `harness.load.REQUEST` and the margin of `harness.cluster.SCALED`."""
PICK_UP_SECONDS = 10.0
"""From a lease's end to the end of the fetch at most: a look at the queue, an exchange, a report, on a busy machine."""

STEPS = {
    "read": "before:store.handlers:{}Handler.apply",
    "in-transaction": "after:store.handlers:{}Handler.apply",
    "committed": "before:store.handlers:{}Handler.settle",
}
STREAMS = {"accepted": ("Accept", ACCEPTED_STREAM), "attempted": ("Record", ATTEMPTED_STREAM)}
LATER_STEPS: dict[str, Callable[[random.Random], str]] = {
    "delivered": lambda rng: f"after:store.consumer:Ingest._next_batch#{rng.randint(1, 4)}",
    "acknowledged": lambda rng: f"after:store.consumer:Ingest._ingest#{rng.randint(1, 4)}",
    "about to trim": lambda rng: f"after:common.streams.trim:_safe_bound#{rng.randint(1, 4)}",
}


async def _die(cluster: Cluster, load: Load, failpoint: str) -> Death:
    """All six serve, the store dies at the failpoint under a burst of load, and stays down."""
    cluster.change("store", FAILPOINT=failpoint)
    await cluster.boot()
    cluster.nodes["store"].is_wanted = False
    await load.submit_many(BURST)
    return await cluster.wait_death("store")


async def _pending(cluster: Cluster, stream: str) -> int:
    async with cluster.redis("events") as events:
        return int((await events.xpending(stream, STORE_GROUP))["pending"])


async def _count(cluster: Cluster, query: str) -> int:
    async with cluster.database() as connection:
        return int(await connection.fetchval(query))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("step", STEPS)
async def test_case_11_a_store_killed_with_entries_in_hand_loses_and_doubles_nothing(
    open_case: OpenCluster, step: str, stream: str
) -> None:
    handler, stream_name = STREAMS[stream]
    async with open_case() as cluster, open_load(cluster, prefix=f"c11-{step}-{stream}") as load:
        death = await _die(cluster, load, STEPS[step].format(handler))
        assert (death.code, death.was_killed) == (-signal.SIGKILL, False)
        assert await _pending(cluster, stream_name) > 0
        table = "fetches" if stream == "accepted" else "witness.endings"
        assert (await _count(cluster, f"SELECT count(*) FROM {table}") > 0) == (step == "committed")
        cluster.start("store")
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": BURST}


@pytest.mark.parametrize("step", LATER_STEPS)
async def test_case_11_a_store_killed_beside_an_entry_loses_and_doubles_nothing(
    open_case: OpenCluster, rng: random.Random, step: str
) -> None:
    async with open_case() as cluster, open_load(cluster, prefix=f"c11-{step.replace(' ', '-')}") as load:
        death = await _die(cluster, load, LATER_STEPS[step](rng))
        assert (death.code, death.was_killed) == (-signal.SIGKILL, False)
        cluster.start("store")
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": BURST}


@pytest.mark.quick
async def test_case_13_a_claim_whose_commands_never_left_is_given_out_again_when_its_lease_ends(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c13") as load:
        death = await _die(cluster, load, "before:store.dispatch.dispatcher:Dispatcher._send")
        assert death.code == -signal.SIGKILL
        async with cluster.redis("broker") as broker:
            assert (await broker.llen(COMMAND_QUEUE), await broker.hlen("unacked")) == (0, 0)
        async with cluster.database() as connection:
            claimed = {
                row["id"]: row["ends_at"]
                for row in await connection.fetch(
                    "SELECT id::text, extract(epoch FROM run_at)::float8 AS ends_at FROM fetch_queue WHERE dispatch_seq = 1"
                )
            }
        assert claimed and not cluster.origin.hits().keys() & set(load.submitted)
        cluster.start("store")
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": BURST}
    assert findings.redispatched >= len(claimed)
    hits = cluster.origin.hits()
    for identifier, ends_at in claimed.items():
        [hit] = hits[findings.rows[identifier].token]
        assert ends_at <= hit.at <= ends_at + PICK_UP_SECONDS
        assert ends_at - death.at <= LEASE_SECONDS + 1


async def test_case_12_commands_that_left_a_store_that_died_are_not_given_out_again(open_case: OpenCluster) -> None:
    async with open_case(FETCHWORK_LEASE_MARGIN_SECONDS="20") as cluster, open_load(cluster, prefix="c12") as load:
        death = await _die(cluster, load, "after:store.dispatch.dispatcher:Dispatcher._send")
        assert death.code == -signal.SIGKILL
        cluster.start("store")
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": BURST}
    assert (findings.hits, findings.redispatched) == (BURST, 0)


async def test_case_12_commands_that_left_and_were_taken_back_all_the_same_have_one_result_each(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c12-twice") as load:
        wire = await cluster.wire("store", "broker")
        await cluster.boot()
        async with load.steady(per_second=30, seconds=(0.5,)):
            for _ in range(4):
                await asyncio.sleep(0.7)
                wire.cut_replies_after = 1
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert "BrokerUnavailable" in cluster.log("store")
    assert findings.redispatched > 0, "nothing was taken back"
