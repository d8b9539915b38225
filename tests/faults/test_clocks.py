"""Case 32: the clock of one process jumps by an hour, forwards, backwards and home again, while it works."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from harness.checker import Allowance, assert_kept
from harness.clocks import FalseClock, give_clock
from harness.cluster import Cluster
from harness.load import Load, open_load
from harness.metrics import metric
from harness.waiting import meet_hosts, wait_for

HOUR_SECONDS = 3600
JUMPS_SECONDS = (HOUR_SECONDS, 0, -HOUR_SECONDS, 0)
PER_SECOND = 20
BEFORE_JUMP_SECONDS = 0.5
JUMP_SECONDS = 2.0
DELAY_SECONDS = 3.0
SKEW_TOLERANCE_SECONDS = 5.0
EXTRA_HITS = 3
"""Requests of one fetch beyond its dispatches: each of the jumps may have a lease seem longer or an entry seem forgotten."""
USUAL_DISPATCHES = "5"
"""Nobody is killed here, so a fetch is abandoned as soon as in production."""


async def _submit_around_jumps(cluster: Cluster, clock: FalseClock, load: Load, *, name: str) -> Mapping[str, float]:
    """The delayed fetches among those submitted: token and time of submission."""
    delayed: dict[str, float] = {}
    async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.3)):
        for seconds in JUMPS_SECONDS:
            delayed[token := load.token()] = time.time()
            await load.submit(token, delay_seconds=DELAY_SECONDS)
            await asyncio.sleep(BEFORE_JUMP_SECONDS)
            clock.jump(seconds)

            async def has_jumped(seconds: int = seconds) -> bool:
                return abs(await _skew_seconds(cluster, name) - seconds) < SKEW_TOLERANCE_SECONDS

            await wait_for(f"the clock to be {seconds} s ahead", has_jumped)
            await asyncio.sleep(JUMP_SECONDS)
    return delayed


async def _skew_seconds(cluster: Cluster, name: str) -> float:
    """How wrong a process's clock is by what it says itself."""
    if name == "fetcher":
        return await metric(cluster, name, "fetchwork_clock_skew_seconds")
    if name == "gateway":
        async with aiohttp.ClientSession() as session, session.get(f"{cluster.gateway_url}/livez") as answer:
            return parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
    async with cluster.redis(name) as redis:
        return float((await redis.time())[0]) - time.time()


async def _assert_once_and_in_time(cluster: Cluster, delayed: Mapping[str, float]) -> None:
    """By the clock of this process, which never jumped; Postgres has the same."""
    hits = cluster.origin.hits()
    for token, submitted_at in delayed.items():
        assert len(hits[token]) == 1
        assert hits[token][0].at - submitted_at >= DELAY_SECONDS


@pytest.mark.parametrize("name", ["fetcher", "gateway", "events", "broker"])
async def test_case_32_a_clock_that_jumps_by_an_hour_loses_nothing(
    open_case: Callable[..., AbstractAsyncContextManager[Cluster]], name: str
) -> None:
    async with open_case(FETCHWORK_ABANDON_AFTER_DISPATCHES=USUAL_DISPATCHES) as cluster:
        clock = give_clock(cluster, name)
        await cluster.boot()
        async with open_load(cluster, prefix=f"c32{name[0]}") as load:
            await meet_hosts(cluster, load)
            delayed = await _submit_around_jumps(cluster, clock, load, name=name)
            findings = await assert_kept(cluster, load, allow=Allowance(extra_hits=EXTRA_HITS))
        assert findings.statuses == {"succeeded": findings.accepted}
        assert not cluster.deaths
        await _assert_once_and_in_time(cluster, delayed)
