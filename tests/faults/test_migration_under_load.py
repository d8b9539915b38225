"""Case 34: three stores start at once on a schema that is one migration behind, under load; one migrates, and nothing is lost."""

import asyncio
import signal
import time

from harness.checker import assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.load import open_load
from harness.metrics import metric
from harness.recovery import wait_recovered
from harness.waiting import wait_for
from store.migrate import migrations

PER_SECOND = 30
HELD_SECONDS = 5.0
"""Longer than a migration waits for a table in one try."""
GONE = "DROP INDEX fetches_of_content"
"""Undoes the newest migration."""
TRANSACTIONS = "fetchwork_database_transactions_total"
STORES = ("store", "store-2", "store-3")


async def test_case_34_of_three_stores_that_start_at_once_under_load_one_migrates(open_case: OpenCluster) -> None:
    newest = migrations()[-1]
    assert newest.name == "retention", "say how the newest migration is undone"
    async with open_case() as cluster, open_load(cluster, prefix="c34") as load:
        cluster.add_replica("store", "store-2")
        cluster.add_replica("store", "store-3")
        cluster.start("events", "broker", "postgres")
        await cluster.wait_ready("events", "broker", "postgres")
        cluster.start("gateway", "fetcher")
        async with cluster.database() as connection:
            await connection.execute(f"{GONE}; DELETE FROM schema_migrations WHERE version = {newest.version}")
        async with load.steady(per_second=PER_SECOND):
            async with cluster.database() as traffic, traffic.transaction():
                await traffic.execute("LOCK TABLE fetches IN ROW EXCLUSIVE MODE")
                cluster.start(*STORES)
                began = time.monotonic()
                await wait_for("a migrator waits for the table", lambda: _waits(cluster), seconds=20)
                await asyncio.sleep(max(0.0, HELD_SECONDS - (time.monotonic() - began)))
            await cluster.wait_ready()
            await wait_recovered(cluster, per_second=PER_SECOND)
        findings = await assert_kept(cluster, load)
    assert [cluster.log(name).count("migration applied") for name in STORES].count(1) == 1
    assert sum(cluster.log(name).count("migration applied") for name in STORES) == 1
    assert cluster.deaths == [], "a store did not wait"
    assert findings.statuses == {"succeeded": findings.accepted}


async def test_case_34_a_migrator_that_freezes_keeps_its_lock_only_as_long_as_idle_sessions_last(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c34-frozen") as load:
        cluster.add_replica("store", "store-2")
        cluster.change("store-2", FAILPOINT="before:store.migrate:_apply_missing!STOP")
        cluster.start("events", "broker", "postgres", "store-2")
        await wait_for("the migrator freezes", lambda: _is_frozen(cluster, "store-2"))
        cluster.start("store", "gateway", "fetcher")
        await cluster.wait_ready("store", "gateway", "fetcher")
        cluster.kill("store-2", stays_down=True, number=signal.SIGKILL)
        await load.submit_many(10)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": 10}
    assert [death.name for death in cluster.deaths] == ["store-2"], "the other gave up"


async def test_case_34_ddl_beside_running_stores_makes_them_try_again_and_loses_nothing(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c34-ddl") as load:
        cluster.add_replica("store", "store-2")
        await cluster.boot()
        async with load.steady(per_second=PER_SECOND):
            await wait_recovered(cluster, per_second=PER_SECOND)
            async with cluster.database() as connection:
                await connection.execute("SET lock_timeout = '2s'")
                for table in ("fetches", "fetch_queue", "hosts"):
                    await connection.execute(f"ALTER TABLE {table} ADD COLUMN added_by_a_newer_release text")
                    await connection.execute(f"CREATE INDEX CONCURRENTLY added_{table} ON {table} (added_by_a_newer_release)")
                    await asyncio.sleep(0.5)
                for table in ("fetches", "fetch_queue", "hosts"):
                    await connection.execute(f"ALTER TABLE {table} DROP COLUMN added_by_a_newer_release")
            await wait_recovered(cluster, per_second=PER_SECOND)
        assert sum([await metric(cluster, name, TRANSACTIONS, result="retried") for name in ("store", "store-2")]) > 0
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert set(load.answers) <= {202}


async def _waits(cluster: Cluster) -> bool:
    async with cluster.database() as connection:
        return bool(
            await connection.fetchval(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'fetchwork-migrator' AND wait_event_type = 'Lock'"
            )
        )


async def _is_frozen(cluster: Cluster, name: str) -> bool:
    return cluster.nodes[name].is_running and cluster.notices_frozen(name)
