"""Cases 20 and 22: the events Redis is out of memory, or its disk is full. It refuses or ends; what it acknowledged stays."""

import asyncio
import random
import time
from typing import Any

import aiohttp
from harness.checker import Allowance, assert_kept
from harness.cluster import RESTART_SECONDS, Cluster, OpenCluster
from harness.load import Load, open_load
from harness.metrics import metric, wait_metric
from harness.recovery import wait_recovered
from harness.small_disk import small_disk
from harness.streams import accepted_ids
from harness.waiting import meet_hosts

PER_SECOND = 20
UNDER_WAY = 20
LONG_LEASE: dict[str, Any] = {"timeout_seconds": 30.0}
SHORT_LEASE: dict[str, Any] = {"timeout_seconds": 5.0}
NOTICED_SECONDS = 20
PUBLISH_FAILURES = "fetchwork_publish_failures_total"
UNPUBLISHED = "fetchwork_outcomes_unpublished_total"
FULL_DEATHS = 2
SPARE_BYTES = 8 * 1024 * 1024


async def _limit_memory(cluster: Cluster, limit: str) -> str:
    """Another limit for the events Redis, and what it was."""
    async with cluster.redis("events") as events:
        before = (await events.config_get("maxmemory"))["maxmemory"]
        await events.config_set("maxmemory", limit)
    return str(before)


async def _assert_refused(cluster: Cluster, load: Load) -> None:
    """503 that says when to come again."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    body = {"url": cluster.origin.url(load.token())}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{cluster.gateway_url}/v1/fetches", json=body) as answer:
            document = await answer.json(content_type=None)
    assert (answer.status, document["type"]) == (503, "/problems/events-unavailable")
    assert int(answer.headers["Retry-After"]) > 0


async def _wait_requested(cluster: Cluster, load: Load) -> None:
    """Until the origin has been asked for everything: it is with the workers now."""
    async with asyncio.timeout(NOTICED_SECONDS):
        while not set(load.submitted) <= set(cluster.origin.hits()):
            await asyncio.sleep(0.05)


async def _ended(cluster: Cluster) -> int:
    async with cluster.database() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM witness.endings"))


async def test_case_20_out_of_memory_is_refused_and_outcomes_wait_in_the_workers(cluster: Cluster) -> None:
    """The leases are longer than the fault, so nothing is fetched twice."""
    async with open_load(cluster, prefix="c20") as load:
        await meet_hosts(cluster, load)
        known = len(load.submitted)
        with cluster.origin.holding():
            await load.submit_many(UNDER_WAY, **LONG_LEASE)
            await _wait_requested(cluster, load)
            limit, began = await _limit_memory(cluster, "1"), time.time()
        await _assert_refused(cluster, load)
        async with load.steady(per_second=PER_SECOND, **LONG_LEASE):
            async with asyncio.timeout(NOTICED_SECONDS):
                await wait_metric(cluster, "fetcher", PUBLISH_FAILURES)
            await asyncio.sleep(1)
            assert load.answers[202] == known + UNDER_WAY and load.answers[503] > 0
            assert await _ended(cluster) < known + UNDER_WAY, "all was published before the memory was full"
            window = (began, time.time())
            await _limit_memory(cluster, limit)
            await wait_recovered(cluster, per_second=PER_SECOND)
        findings = await assert_kept(cluster, load, allow=Allowance(no_promise_windows=[window]))
    assert findings.statuses == {"succeeded": len(findings.rows)} and len(findings.rows) > UNDER_WAY
    assert await metric(cluster, "fetcher", UNPUBLISHED) == 0
    assert findings.hits == len(findings.rows) and findings.redispatched == 0


async def test_case_20_what_waited_longer_than_its_lease_is_given_up_and_done_again(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c20l") as load:
        await meet_hosts(cluster, load)
        with cluster.origin.holding():
            await load.submit_many(UNDER_WAY, **SHORT_LEASE)
            await _wait_requested(cluster, load)
            limit, began = await _limit_memory(cluster, "1"), time.time()
        async with asyncio.timeout(NOTICED_SECONDS):
            await wait_metric(cluster, "fetcher", UNPUBLISHED)
        window = (began, time.time())
        await _limit_memory(cluster, limit)
        findings = await assert_kept(cluster, load, allow=Allowance(no_promise_windows=[window]))
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert findings.redispatched > 0


async def test_case_22_a_full_disk_ends_the_events_redis_and_loses_nothing(open_case: OpenCluster, rng: random.Random) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c22") as load:
        with small_disk(cluster.folder / "data/events", spare_bytes=SPARE_BYTES) as disk:
            await cluster.boot()
            async with load.steady(per_second=PER_SECOND):
                await asyncio.sleep(rng.uniform(0.5, 1.5))
                disk.fill()
                deaths = [await cluster.wait_death("events") for _ in range(FULL_DEATHS)]
                assert {death.code for death in deaths} == {1}
                await _wait_refused(load)
                disk.empty()
                await cluster.wait_ready("events")
                assert {promise.id for promise in load.journal.promises()} <= await accepted_ids(cluster)
                await wait_recovered(cluster, per_second=PER_SECOND)
            windows = [(death.at, death.at + RESTART_SECONDS / 2) for death in deaths]
            findings = await assert_kept(cluster, load, allow=Allowance(no_promise_windows=windows))
            assert findings.statuses == {"succeeded": len(findings.rows)}
            assert {promise.id for promise in load.journal.promises()} <= await accepted_ids(cluster)
            assert "recover from AOF write error" in cluster.log("events")
            await cluster.close()


async def _wait_refused(load: Load) -> None:
    async with asyncio.timeout(NOTICED_SECONDS):
        while not load.answers[503]:
            await asyncio.sleep(0.05)
