"""Case 26: Postgres answers late: a table is locked, the link is slow, a session's process stands still."""

import asyncio
import signal
import time

import aiohttp
from harness.checker import assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.load import open_load
from harness.metrics import metric
from harness.postgres import signal_backend, store_backends
from harness.recovery import wait_recovered
from harness.waiting import wait_for

PER_SECOND = 30
LIMIT_FETCHES = 100
STANDS_STILL_SECONDS = 12.0
"""Longer than a command of the store may take."""
READ_LIMIT_SECONDS = 8.0
"""A read's patience with the store (5 s), on a busy machine."""
TRANSACTIONS = "fetchwork_database_transactions_total"
GATE_REFUSALS = "fetchwork_gate_refusals_total"


async def _refusals(cluster: Cluster) -> float:
    return await metric(cluster, "gateway", GATE_REFUSALS, gate="ingesting")


async def test_case_26_while_a_table_is_locked_timeouts_fire_and_clients_are_told_to_come_again(open_case: OpenCluster) -> None:
    async with (
        open_case(FETCHWORK_INGESTING_LIMIT_FETCHES=str(LIMIT_FETCHES)) as cluster,
        open_load(cluster, prefix="c26-locked") as load,
    ):
        await cluster.boot()
        [known] = await load.submit_many(1)
        async with load.steady(per_second=PER_SECOND):
            async with cluster.database() as connection, connection.transaction():
                await connection.execute("LOCK TABLE fetches IN ACCESS EXCLUSIVE MODE")
                await wait_for("the gateway refuses", lambda: _refusals(cluster), seconds=20)
                began = time.monotonic()
                assert await _read(cluster, known) in (503, 504)
                assert time.monotonic() - began < READ_LIMIT_SECONDS
            await wait_recovered(cluster, per_second=PER_SECOND)
        assert await metric(cluster, "store", TRANSACTIONS, result="retried") > 0
        assert await _read(cluster, known) == 200
        findings = await assert_kept(cluster, load)
    assert load.answers[503] > 0
    assert findings.statuses == {"succeeded": findings.accepted}
    assert cluster.deaths == []


async def test_case_26_a_slow_link_to_postgres_slows_and_loses_nothing(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c26-link") as load:
        wire = await cluster.wire("store", "postgres")
        await cluster.boot()
        async with load.steady(per_second=PER_SECOND / 3):
            wire.delay_seconds = 0.5
            await asyncio.sleep(10)
            wire.delay_seconds = 0.0
            await wait_recovered(cluster, per_second=PER_SECOND / 3)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert cluster.deaths == []


async def test_case_26_sessions_that_stand_still_are_given_up_and_the_store_heals_by_itself(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c26-still") as load:
        await cluster.boot()
        async with load.steady(per_second=PER_SECOND):
            await wait_recovered(cluster, per_second=PER_SECOND)
            async with cluster.database() as connection:
                still, before = await store_backends(connection), await metric(cluster, "store", TRANSACTIONS, result="retried")
                for pid in still:
                    signal_backend(pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(STANDS_STILL_SECONDS)
                finally:
                    for pid in still:
                        signal_backend(pid, signal.SIGCONT)
                assert await metric(cluster, "store", TRANSACTIONS, result="retried") > before, "no timeout fired"
                await wait_recovered(cluster, per_second=PER_SECOND, limit_seconds=10)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert cluster.deaths == []


async def _read(cluster: Cluster, identifier: str) -> int:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        async with session.get(f"{cluster.gateway_url}/v1/fetches/{identifier}", headers=headers) as answer:
            return answer.status
