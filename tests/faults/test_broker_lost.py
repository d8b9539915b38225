"""Cases 17 and 18: the broker Redis dies, or is wiped, with commands in it. Its marker tells, and the store sends them again."""

import asyncio
import random
import re
import time
from pathlib import Path

import pytest
from harness.checker import assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.commands import commands, fill_the_queue, given_out_again
from harness.load import open_load
from harness.waiting import wait_for

COUNT = 60
LONG_LEASE = {"FETCHWORK_LEASE_MARGIN_SECONDS": "120"}
"""So that what is back within seconds came back for the marker and not for the end of its lease."""
SENT_AGAIN_SECONDS = 5.0
ENDED_SECONDS = 15.0
RESTART_LIMIT_SECONDS = 10.0
"""Recovery after a Redis restarted."""


async def _wait_sent_again(cluster: Cluster) -> None:
    async def are_sent() -> bool:
        return await given_out_again(cluster) >= COUNT // 2

    await wait_for("what was lost to be sent again", are_sent, seconds=SENT_AGAIN_SECONDS)


async def _wait_empty(cluster: Cluster) -> None:
    async def is_empty() -> bool:
        async with cluster.database() as connection:
            return await connection.fetchval("SELECT count(*) FROM fetch_queue") == 0

    await wait_for("the end of all fetches", is_empty, seconds=ENDED_SECONDS)


async def test_case_17_commands_that_died_with_the_broker_are_sent_again(open_case: OpenCluster) -> None:
    async with open_case(**LONG_LEASE) as cluster:
        await cluster.boot()
        async with open_load(cluster, prefix="c17") as load:
            await fill_the_queue(cluster, load, COUNT)
            cluster.kill("broker")
            await cluster.wait_ready("broker")
            assert await commands(cluster) == 0, "without a log it comes back empty"
            cluster.thaw("fetcher")
            await _wait_sent_again(cluster)
            await _wait_empty(cluster)
            findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.redispatched >= COUNT // 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_case_17_commands_that_come_back_with_the_broker_are_run_once(open_case: OpenCluster, method: str) -> None:
    async with open_case(**LONG_LEASE) as cluster:
        _keep_a_log(cluster.folder / "data/broker/valkey.conf")
        await cluster.boot()
        async with open_load(cluster, prefix=f"c17{method}") as load:
            waiting = await fill_the_queue(cluster, load, COUNT, method=method, retries={"max": 0})
            cluster.kill("broker")
            await cluster.wait_ready("broker")
            assert await commands(cluster) == waiting
            cluster.thaw("fetcher")
            await _wait_empty(cluster)
            findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.redispatched == 0 and findings.hits == len(load.submitted)


@pytest.mark.quick
async def test_case_18_a_broker_wiped_in_the_middle_loses_nothing(open_case: OpenCluster) -> None:
    async with open_case(**LONG_LEASE) as cluster:
        await cluster.boot()
        async with open_load(cluster, prefix="c18") as load:
            await fill_the_queue(cluster, load, COUNT)
            before = cluster.log("store").count("broker marker missing")
            async with cluster.redis("broker") as broker:
                await broker.flushall()
            assert await commands(cluster) == 0
            cluster.thaw("fetcher")
            await _wait_sent_again(cluster)
            await _wait_empty(cluster)
            findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.redispatched >= COUNT // 2, "what was wiped was sent again"
        assert cluster.log("store").count("broker marker missing") == before + 1


async def test_case_18_a_broker_wiped_again_and_again_under_load(cluster: Cluster, rng: random.Random) -> None:
    async with open_load(cluster, prefix="c18b") as load:
        async with load.steady(per_second=40, seconds=(0.0, 0.3)):
            for _ in range(5):
                await asyncio.sleep(rng.uniform(1.0, 2.0))
                async with cluster.redis("broker") as broker:
                    await broker.flushall()
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert cluster.log("store").count("broker marker missing") >= 5


async def test_a_worker_is_back_within_seconds_of_a_broker_that_was_away_for_long(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="away") as load:
        cluster.kill("broker", stays_down=True)
        await load.submit_many(5)
        await wait_for("eight tries to reach it", lambda: _tries(cluster, 8), seconds=30)
        cluster.start("broker")
        await cluster.wait_ready("broker")
        began = time.monotonic()
        await _wait_empty(cluster)
        assert time.monotonic() - began < RESTART_LIMIT_SECONDS
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    pauses = [float(pause) for pause in re.findall(r"Trying again in ([0-9.]+) seconds", cluster.log("fetcher"))]
    assert max(pauses) <= 2.0


async def _tries(cluster: Cluster, count: int) -> bool:
    return cluster.log("fetcher").count("Trying again in") >= count


def _keep_a_log(configuration: Path) -> None:
    text = configuration.read_text(encoding="utf-8")
    assert "appendonly no" in text
    configuration.write_text(text.replace("appendonly no", "appendonly yes\nappendfsync always"), encoding="utf-8")
