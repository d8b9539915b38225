"""Resources that run out: file descriptors, memory, names, a database that is slow, and a burst of a hundred times the load."""

import asyncio
import dataclasses
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest
from common.streams.names import ACCEPTED_STREAM
from fetchwork_local.ports import LOOPBACK
from harness.checker import RSS_LIMIT_BYTES, assert_kept
from harness.cluster import Cluster
from harness.limits import few_files, watch_memory
from harness.load import Load, open_load
from harness.metrics import metric
from harness.mutants import MUTANT
from harness.surroundings import NAMES_FILE
from harness.recovery import wait_recovered
from harness.waiting import meet_hosts, wait_for

OpenCluster = Callable[..., AbstractAsyncContextManager[Cluster]]
PER_SECOND = 10
BURST_PER_SECOND = 500
BURST_SECONDS = 5
IDLE_CONNECTIONS = 40
SHORTAGE_SECONDS = 3
LARGE_BODIES, LARGE_BYTES = 60, 4 * 1024 * 1024
INGEST_SECONDS = "fetchwork_ingest_seconds_sum"
CUT_STORE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fetchwork-store'"
REFUSALS = {0, 202, 429, 503}


async def _back_to_normal(cluster: Cluster, load: Load) -> None:
    async with load.steady(per_second=PER_SECOND):
        await wait_recovered(cluster, per_second=PER_SECOND)


async def test_a_gateway_without_file_descriptors_takes_no_connection_and_recovers(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="fdg") as load:
        await meet_hosts(cluster, load)
        idle: list[asyncio.StreamWriter] = []
        async with load.steady(per_second=PER_SECOND):
            with few_files(cluster, "gateway", spare=10):
                for _ in range(IDLE_CONNECTIONS):
                    _, writer = await asyncio.open_connection(LOOPBACK, cluster.state.ports.gateway)
                    idle.append(writer)
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session:
                    with pytest.raises((aiohttp.ClientError, TimeoutError)):
                        await session.get(f"{cluster.gateway_url}/readyz")
                for writer in idle:
                    writer.transport.abort()
        await _back_to_normal(cluster, load)
        findings = await assert_kept(cluster, load)
    assert set(load.answers) <= REFUSALS
    assert findings.statuses == {"succeeded": len(load.submitted)}


async def test_a_fetcher_without_file_descriptors_tries_again_and_recovers(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="fdf") as load:
        await meet_hosts(cluster, load)
        with few_files(cluster, "fetcher", spare=4):
            await load.submit_many(60, seconds=0.5, retries={"max": 10, "backoff_seconds": 0.1})
            await asyncio.sleep(SHORTAGE_SECONDS)
        await _back_to_normal(cluster, load)
        findings = await assert_kept(cluster, load)
    async with cluster.database() as connection:
        failed = await connection.fetch("SELECT DISTINCT error_type FROM attempts WHERE outcome = 'failed'")
    assert [row["error_type"] for row in failed] == ["internal"], "no host is to blame for what we lack"
    assert findings.statuses == {"succeeded": len(load.submitted)}


async def test_a_store_that_can_open_no_connection_waits_and_recovers(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="fds") as load:
        await meet_hosts(cluster, load)
        async with load.steady(per_second=PER_SECOND):
            with few_files(cluster, "store", spare=-1):
                async with cluster.database() as connection:
                    await connection.execute(CUT_STORE)
                await wait_for("a pass that failed for want of files", lambda: _is_told(cluster, "Too many open files"))
                await asyncio.sleep(SHORTAGE_SECONDS)
        await _back_to_normal(cluster, load)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert not cluster.deaths


async def _is_told(cluster: Cluster, words: str) -> bool:
    return words in cluster.log("store")


async def test_a_burst_of_a_hundred_times_the_load_is_refused_with_a_time_and_passes(open_case: OpenCluster) -> None:
    async with open_case(FETCHWORK_INGESTING_LIMIT_FETCHES="20") as cluster:
        await cluster.boot()
        async with open_load(cluster, prefix="burst") as load, watch_memory(cluster, "gateway", "store", "fetcher") as peak:
            async with load.steady(per_second=BURST_PER_SECOND / 100):
                await asyncio.sleep(2)
                async with load.steady(per_second=BURST_PER_SECOND):
                    await asyncio.sleep(BURST_SECONDS)
            await _back_to_normal(cluster, load)
            findings = await assert_kept(cluster, load)
        assert set(load.answers) <= REFUSALS and load.answers[503] + load.answers[429] > 0
        assert load.retry_after.isdigit() and 1 <= int(load.retry_after) <= 60
        assert max(peak.rss_bytes.values()) < RSS_LIMIT_BYTES
        assert findings.statuses == {"succeeded": len(load.submitted)}


async def test_large_bodies_at_once_stay_within_the_memory_of_each_process(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="big") as load:
        await meet_hosts(cluster, load)
        async with watch_memory(cluster, "gateway", "store", "fetcher") as peak:
            tokens = [load.token() for _ in range(LARGE_BODIES)]
            urls = [f"{cluster.origin.url(token)}?bytes={LARGE_BYTES}" for token in tokens]
            await asyncio.gather(*(load.submit(token, url=url) for token, url in zip(tokens, urls, strict=True)))
            findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert max(peak.rss_bytes.values()) < RSS_LIMIT_BYTES


async def test_a_slow_database_delays_and_loses_nothing(open_case: OpenCluster, rng: random.Random) -> None:
    async with open_case() as cluster:
        wire = await cluster.wire("store", "postgres")
        await cluster.boot()
        async with open_load(cluster, prefix="slowdb") as load:
            await meet_hosts(cluster, load)
            before = await metric(cluster, "store", INGEST_SECONDS, stream=ACCEPTED_STREAM)
            async with load.steady(per_second=PER_SECOND):
                await asyncio.sleep(1)
                wire.delay_seconds = rng.uniform(0.2, 0.5)
                await asyncio.sleep(6)
                wire.delay_seconds = 0.0
                await wait_recovered(cluster, per_second=PER_SECOND)
            after = await metric(cluster, "store", INGEST_SECONDS, stream=ACCEPTED_STREAM)
            assert after - before > 1, "the wire was not slow"
            findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": len(load.submitted)}


async def test_names_that_cannot_be_looked_up_are_tried_again_and_found_later(open_case: OpenCluster, tmp_path: Path) -> None:
    names, name = tmp_path / "names", "origin.test"
    async with open_case(FETCHWORK_BREAKER_SECONDS="1", FETCHWORK_BREAKER_LIMIT_SECONDS="2") as cluster:
        cluster.change("fetcher", each_time=True, **{MUTANT: "fixed_names", NAMES_FILE: str(names)})
        address, cluster.origin = cluster.origin.address, dataclasses.replace(cluster.origin, address=name)
        await cluster.boot()
        async with open_load(cluster, prefix="dns") as load:
            await load.submit_many(20, retries={"max": 10, "backoff_seconds": 0.1})

            async def have_failed() -> bool:
                async with cluster.database() as connection:
                    count = await connection.fetchval("SELECT count(*) FROM attempts WHERE error_type = 'dns'")
                return bool(count >= len(cluster.origin.ports))

            await wait_for("attempts that found no address", have_failed)
            assert not any(token in cluster.origin.hits() for token in load.submitted)
            names.write_text(f"{name} {address}\n", encoding="ascii")
            await _back_to_normal(cluster, load)
            findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": len(load.submitted)}
