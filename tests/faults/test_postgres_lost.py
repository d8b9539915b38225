"""Cases 24, 25 and 27: Postgres is killed, is away, or is there and cannot be reached."""

import asyncio
import random
import signal
import time

import aiohttp
import pytest
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH, STORE_GROUP
from harness.checker import assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.load import Load, open_load
from harness.metrics import metric
from harness.postgres import backend_in_commit, signal_backend, slow_commits
from harness.recovery import wait_recovered
from harness.waiting import wait_for

HEALED_SECONDS = 10.0
PER_SECOND = 30
LIMIT_FETCHES = 100
AWAY_SECONDS = 12.0
ENTRY_LIMIT_BYTES = 4096
"""What one small fetch takes of the events Redis until it is in the ledger, at most."""
TAKEOVER_IDLE_MS = "12000"
"""More than a loop rests between two passes that fail, as in production."""
TAKEN_OVER_SECONDS = 40.0
"""That idle time, a look every five seconds, the locks of sessions that Postgres believes alive (15 s), and the work."""
TRANSACTIONS = "fetchwork_database_transactions_total"
TAKEN_OVER = "fetchwork_taken_over_entries_total"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT], ids=["killed", "immediate shutdown"])
async def test_case_24_postgres_ends_at_once_and_is_back(open_case: OpenCluster, number: signal.Signals) -> None:
    async with open_case() as cluster, open_load(cluster, prefix=f"c24-{number}") as load:
        await cluster.boot()
        async with load.steady(per_second=PER_SECOND):
            await wait_recovered(cluster, per_second=PER_SECOND)
            cluster.kill("postgres", number=number)
            await wait_for("Postgres has ended", lambda: _has_ended(cluster, "postgres"))
            await cluster.wait_ready("postgres")
            await wait_recovered(cluster, per_second=PER_SECOND, limit_seconds=HEALED_SECONDS)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert set(load.answers) <= {202}, "a client noticed"
    assert {death.name for death in cluster.deaths} == {"postgres"}, "a service needed a restart"


async def test_case_24_sessions_that_end_in_the_middle_of_their_commit_commit_once(open_case: OpenCluster) -> None:
    terminated = 0
    async with open_case() as cluster, open_load(cluster, prefix="c24-commit") as load:
        await cluster.boot()
        await slow_commits(cluster, microseconds=100_000)
        async with load.steady(per_second=PER_SECOND):
            async with cluster.database() as connection:
                for done in range(60):
                    if done >= 12 and await metric(cluster, "store", TRANSACTIONS, result="retried") > 0:
                        break
                    pid = await backend_in_commit(connection)
                    terminated += await connection.fetchval("SELECT pg_terminate_backend($1)", pid)
                    await asyncio.sleep(0.3)
                assert await metric(cluster, "store", TRANSACTIONS, result="retried") > 0
                signal_backend(await backend_in_commit(connection), signal.SIGKILL)
            await wait_for("Postgres restarts its sessions", lambda: _says(cluster, "all server processes terminated"))
            await cluster.wait_ready("postgres")
            await wait_recovered(cluster, per_second=PER_SECOND, limit_seconds=HEALED_SECONDS)
        findings = await assert_kept(cluster, load)
    assert terminated > 0
    assert cluster.deaths == [], "somebody needed a restart"
    assert findings.statuses == {"succeeded": findings.accepted}


async def test_case_25_promises_go_on_up_to_the_limit_while_postgres_is_away_and_no_further(open_case: OpenCluster) -> None:
    async with (
        open_case(FETCHWORK_INGESTING_LIMIT_FETCHES=str(LIMIT_FETCHES)) as cluster,
        open_load(cluster, prefix="c25") as load,
    ):
        await cluster.boot()
        await load.submit_many(10)
        before = await _memory(cluster)
        began = time.monotonic()
        cluster.kill("postgres", stays_down=True, number=signal.SIGQUIT)
        cluster.kill("store")
        refused = [token for token in [load.token() for _ in range(LIMIT_FETCHES + 30)] if not await _promised(load, token)]
        assert load.answers[503] == len(refused) >= 30
        assert await metric(cluster, "gateway", "fetchwork_gate_refusals_total", gate="ingesting") == len(refused)
        assert await _answer(cluster, load) == (503, True)
        async with cluster.redis("events") as events:
            assert await events.hlen(INGESTING_HASH) == LIMIT_FETCHES
        assert await _memory(cluster) - before < LIMIT_FETCHES * ENTRY_LIMIT_BYTES
        async with load.steady(per_second=PER_SECOND):
            await asyncio.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - began)))
            cluster.start("postgres")
            await cluster.wait_ready("postgres")
            await wait_recovered(cluster, per_second=PER_SECOND)
        await asyncio.gather(*(load.submit(token) for token in refused))
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}


@pytest.mark.parametrize("fault", ["swallows everything", "refuses everyone"])
async def test_case_27_a_store_that_cannot_reach_postgres_leaves_its_work_to_another(
    open_case: OpenCluster, rng: random.Random, fault: str
) -> None:
    async with (
        open_case(FETCHWORK_TAKEOVER_IDLE_MS=TAKEOVER_IDLE_MS) as cluster,
        open_load(cluster, prefix=f"c27-{fault.split()[0]}") as load,
    ):
        wire = await cluster.wire("store", "postgres")
        cluster.add_replica("store", "store-2")
        await cluster.boot()
        async with load.steady(per_second=PER_SECOND):
            await asyncio.sleep(rng.uniform(1, 2))
            if fault == "swallows everything":
                wire.black_hole()
            else:
                wire.refuses = True
                wire.cut()
            await wait_for("work in the hands of the store that is cut off", lambda: _has_pending(cluster, "store-0"))
            await wait_for(
                "the other store has taken over", lambda: _is_free(cluster, "store-0"), seconds=TAKEN_OVER_SECONDS
            )
            assert await metric(cluster, "store-2", TAKEN_OVER) > 0
            await wait_recovered(cluster, per_second=PER_SECOND)
            wire.black_hole(is_on=False)
            wire.refuses = False
            await cluster.wait_ready("store", seconds=HEALED_SECONDS)
            cluster.kill("store-2", stays_down=True)
            await wait_recovered(cluster, per_second=PER_SECOND)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
    assert cluster.deaths == [death for death in cluster.deaths if death.was_killed], "a store needed a restart"


async def _has_ended(cluster: Cluster, name: str) -> bool:
    return any(death.name == name for death in cluster.deaths)


async def _says(cluster: Cluster, text: str) -> bool:
    return text in cluster.log("postgres")


async def _memory(cluster: Cluster) -> int:
    async with cluster.redis("events") as events:
        return int((await events.info("memory"))["used_memory_dataset"])


async def _promised(load: Load, token: str) -> bool:
    status, _ = await load.try_once(token)
    assert status in (202, 503)
    return status == 202


async def _answer(cluster: Cluster, load: Load) -> tuple[int, bool]:
    """The status of one more request, and whether it says when to come again."""
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"{cluster.gateway_url}/v1/fetches",
            json={"url": cluster.origin.url("c25-refused")},
            headers={"Authorization": f"Bearer {cluster.api_key}"},
        ) as answer:
            return answer.status, answer.headers.get("Retry-After", "").isdigit()


async def _has_pending(cluster: Cluster, consumer: str) -> bool:
    async with cluster.redis("events") as events:
        return bool(await events.xpending_range(ACCEPTED_STREAM, STORE_GROUP, "-", "+", 10, consumername=consumer))


async def _is_free(cluster: Cluster, consumer: str) -> bool:
    return not await _has_pending(cluster, consumer)
