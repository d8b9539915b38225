"""Cases 3, 5, 6, 7 and 8: workers are killed. What they held comes back when its leases end, and by nothing else."""

import asyncio
import random
import time

import pytest
from common.streams.names import COMMAND_QUEUE
from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.failpoints import FAILPOINT
from harness.leases import Out, out_now, seconds_after_leases
from harness.load import open_load
from harness.recovery import wait_recovered
from harness.unacked import UNACKED, UNACKED_INDEX, UNACKED_MUTEX

RATE = 40
SLOTS = 8
ROUNDS = 2
"""FETCHWORK_DISPATCH_ROUNDS."""
CELERY_THREADS = 4
"""FETCHWORK_FETCHER_THREADS: so many messages a worker may hold, and as many that it has not started."""
SLACK_SECONDS = 5.0
"""From the end of a lease until the fetch has ended: another worker starts it, and the attempt takes its time."""


async def test_case_3_workers_killed_at_random_are_recovered_within_one_lease(cluster: Cluster, rng: random.Random) -> None:
    cluster.add_replica("fetcher", "fetcher2")
    cluster.start("fetcher2")
    await cluster.wait_ready("fetcher2")
    out: list[Out] = []
    async with open_load(cluster, prefix="c3") as load:
        async with load.steady(per_second=RATE, seconds=(0.0, 0.5, 1.5)):
            for _ in range(5):
                await asyncio.sleep(rng.uniform(1.0, 3.0))
                victim = rng.choice(("fetcher", "fetcher2"))
                cluster.kill(victim)
                assert (at_this_kill := await out_now(cluster)), "nothing was out"
                out += at_this_kill
                await cluster.wait_ready(victim)
        findings = await assert_kept(cluster, load, allow=Allowance(void_commands=5 * CELERY_THREADS * 2))
    assert findings.statuses == {"succeeded": findings.accepted}
    assert findings.redispatched > 0, "no kill hit a fetch"
    latest = {fetch.id: fetch for fetch in out}
    assert await seconds_after_leases(cluster, list(latest.values())) < SLACK_SECONDS


@pytest.mark.parametrize("failpoint", ["before:fetcher.tasks:Tasks.take_batch", "after:fetcher.tasks:read_batch"])
async def test_case_5_a_worker_killed_before_it_runs_what_it_took_is_recovered(open_case: OpenCluster, failpoint: str) -> None:
    async with open_case() as cluster:
        cluster.change("fetcher", **{FAILPOINT: failpoint})
        await cluster.boot()
        async with open_load(cluster, prefix=f"c5-{failpoint.rpartition(':')[2]}") as load:
            await load.submit_many(20)
            death = await cluster.wait_death("fetcher")
            assert death.code == -9
            out = await out_now(cluster)
            assert out, "nothing was out"
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=2 * CELERY_THREADS))
        assert findings.statuses == {"succeeded": 20}
        assert findings.hits == 20, "some ran although their worker died before"
        assert findings.redispatched > 0
        assert await seconds_after_leases(cluster, out) < SLACK_SECONDS


@pytest.mark.quick
async def test_case_6_a_worker_killed_after_it_published_its_outcome_asks_the_origin_once(open_case: OpenCluster) -> None:
    async with open_case() as cluster:
        cluster.change("fetcher", **{FAILPOINT: "after:fetcher.report:publish"})
        await cluster.boot()
        async with open_load(cluster, prefix="c6") as load:
            await load.submit()
            assert (await cluster.wait_death("fetcher")).code == -9
            await cluster.wait_ready("fetcher")
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=2 * CELERY_THREADS))
        assert (findings.statuses, findings.hits, findings.redispatched) == ({"succeeded": 1}, 1, 0)


async def test_case_7_a_worker_killed_while_it_restores_holds_up_nobody(open_case: OpenCluster) -> None:
    """What Celery restores is void by then: that this stands still for the 30 s of a lock costs nothing."""
    async with open_case() as cluster:
        cluster.change("fetcher", **{FAILPOINT: "before:kombu.transport.virtual.base:Channel.basic_ack"})
        await cluster.boot()
        async with open_load(cluster, prefix="c7") as load, cluster.redis("broker") as broker:
            cluster.nodes["fetcher"].is_wanted = False
            await load.submit_many(10)
            await cluster.wait_death("fetcher")
            assert await broker.hlen(UNACKED) > 0, "nothing to restore"
            await broker.zadd(UNACKED_INDEX, {tag: 0 for tag in await broker.hkeys(UNACKED)})
            cluster.change("fetcher", **{FAILPOINT: "before:kombu.transport.redis:QoS.restore_by_tag"})
            cluster.start("fetcher")
            assert (await cluster.wait_death("fetcher")).code == -9
            assert 0 < await broker.ttl(UNACKED_MUTEX) <= 30
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=2 * CELERY_THREADS))
            assert findings.statuses == {"succeeded": 10}
            assert await broker.exists(UNACKED_MUTEX), "the lock ended before the fetches did"


async def test_case_8_the_queue_stays_shallow_while_all_workers_are_gone_and_nothing_runs_twice(open_case: OpenCluster) -> None:
    async with open_case(FETCHWORK_FETCHER_SLOTS=str(SLOTS)) as cluster:
        cluster.add_replica("fetcher", "fetcher2")
        await cluster.boot()
        async with open_load(cluster, prefix="c8") as load:
            async with load.steady(per_second=RATE, seconds=(0.0, 0.2)):
                await asyncio.sleep(3)  # so that the kills meet a fleet at work
                cluster.kill("fetcher", stays_down=True)
                cluster.kill("fetcher2", stays_down=True)
                depths, waiting = await _depths(cluster, seconds=8)
                cluster.start("fetcher", "fetcher2")
                await cluster.wait_ready("fetcher", "fetcher2")
                await wait_recovered(cluster, per_second=RATE)
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=2 * CELERY_THREADS * 2))
    assert findings.statuses == {"succeeded": findings.accepted}
    assert 0 < max(depths) <= ROUNDS * 2 * SLOTS, "the broker became a backlog"
    assert waiting > 2 * max(depths), "the fleet was not missed"
    assert findings.hits <= 1.1 * findings.accepted, f"{findings.hits} requests for {findings.accepted} fetches"


async def _depths(cluster: Cluster, *, seconds: float) -> tuple[list[int], int]:
    """How long the broker's queue was at each look, and how many fetches wait in Postgres at the end."""
    depths, ends_at = [], time.monotonic() + seconds
    async with cluster.redis("broker") as broker, cluster.database() as connection:
        while time.monotonic() < ends_at:
            depths.append(int(await broker.llen(COMMAND_QUEUE)))
            await asyncio.sleep(0.1)
        return depths, await connection.fetchval("SELECT count(*) FROM fetch_queue")
