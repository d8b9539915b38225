"""Case 32: the clock of one process jumps by an hour, forwards, backwards and home again, while it works."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from common.clock import utc_now
from harness.checker import Allowance, assert_kept
from harness.clocks import FalseClock, give_clock
from harness.cluster import SERVERS, Cluster
from harness.load import Load, open_load
from harness.waiting import meet_hosts

HOUR_SECONDS = 3600
JUMPS_SECONDS = (HOUR_SECONDS, 0, -HOUR_SECONDS, 0)
FETCHES = 25
PER_SECOND = 20
JUMP_SECONDS = 2.5
DELAY_SECONDS = 3.0
REDELIVERED = 3
"""Requests of one fetch beyond its dispatches that a jump may cost: each jump can end, or not end, a lease early."""


async def _submit_around_jumps(cluster: Cluster, clock: FalseClock, load: Load) -> list[str]:
    delayed = []
    await meet_hosts(cluster, load)
    async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.3)):
        for seconds in JUMPS_SECONDS:
            delayed.append(await load.submit(delay_seconds=DELAY_SECONDS))
            await asyncio.sleep(0.5)
            clock.jump(seconds)
            await asyncio.sleep(JUMP_SECONDS)
    return delayed


async def _assert_delayed_once(cluster: Cluster, identifiers: list[str]) -> None:
    async with cluster.database() as connection:
        rows = await connection.fetch(
            "SELECT f.id::text, extract(epoch FROM f.finished_at)::float8 AS at, count(a.*) AS attempts"
            " FROM fetches f JOIN attempts a ON a.fetch_id = f.id WHERE f.id = ANY($1::uuid[]) GROUP BY 1, 2",
            identifiers,
        )
    assert {row["id"]: row["attempts"] for row in rows} == dict.fromkeys(identifiers, 1)


@pytest.mark.parametrize("name", ["fetcher", "gateway", "events", "broker"])
async def test_case_32_a_clock_that_jumps_by_an_hour_loses_nothing(open_case, name: str) -> None:
    async with open_case(FETCHWORK_ABANDON_AFTER_DISPATCHES="5") as cluster:
        clock = give_clock(cluster, name)
        await cluster.boot()
        async with open_load(cluster, prefix=f"c32{name[0]}") as load:
            delayed = await _submit_around_jumps(cluster, clock, load)
            try:
                findings = await assert_kept(cluster, load, allow=Allowance(extra_hits=REDELIVERED))
            finally:
                open(f"/tmp/i8e-{name}.log","w").write(cluster.log(name))
                print(load.answers, cluster.deaths)
                print((await cluster.metrics("store")).count("x"))
        print(findings.statuses, findings.errors, findings.redispatched, findings.hits, findings.accepted)
        assert findings.statuses == {"succeeded": findings.accepted}
        await _assert_delayed_once(cluster, delayed)
