"""Case 19: an administrator empties the events Redis. What had not entered the ledger is lost: bounded, counted and alarmed."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH
from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster
from harness.load import Load, open_load
from harness.metrics import metric, wait_metric
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

WIPED_AT = "fetchwork_stream_wiped_timestamp_seconds"
RESTORED_SECONDS = 10


async def _wipe(cluster: Cluster) -> frozenset[str]:
    """FLUSHALL, and the ids that were promised and not in the ledger at that very moment."""
    async with cluster.redis("events") as events, events.pipeline(transaction=True) as pipeline:
        pipeline.hkeys(INGESTING_HASH)
        pipeline.flushall()
        ingesting, _ = await pipeline.execute()
    return frozenset(identifier.decode() for identifier in ingesting)


async def _lost(cluster: Cluster, load: Load) -> set[str]:
    async with cluster.database() as connection:
        known = {row["id"] for row in await connection.fetch("SELECT id::text FROM fetches")}
    return {promise.id for promise in load.journal.promises()} - known


async def _assert_counted(cluster: Cluster, *, lost: int) -> None:
    """What gateways promised, less what stores took in, is what is lost: not one more, not one less."""
    promised = await metric(cluster, "gateway", "fetchwork_fetches_accepted_total")
    async with cluster.database() as connection:
        taken_in = await connection.fetchval("SELECT sum(fetches) FROM fetch_counts WHERE name = 'accepted'")
    assert promised - int(taken_in) == lost


@pytest.mark.quick
async def test_case_19_a_wipe_while_the_store_runs_takes_only_what_was_being_ingested(
    cluster: Cluster, rng: random.Random
) -> None:
    async with open_load(cluster, prefix="c19a") as load:
        async with load.steady(per_second=50):
            await asyncio.sleep(rng.uniform(1.0, 2.0))
            wiped = await _wipe(cluster)
            async with asyncio.timeout(RESTORED_SECONDS):
                await wait_metric(cluster, "store", WIPED_AT, stream=ACCEPTED_STREAM)
            await asyncio.sleep(1)
        allow = Allowance(may_be_lost=wiped, keys_may_be_forgotten=True, feed_may_be_lost=True)
        findings = await assert_kept(cluster, load, allow=allow)
        lost = await _lost(cluster, load)
        assert lost <= wiped and findings.statuses == {"succeeded": len(findings.rows)}
        assert len(lost) < 50, "more than a second's worth"
        assert "stream was wiped" in cluster.log("store")
        await _assert_counted(cluster, lost=len(lost))


@pytest.mark.parametrize("user", ["gateway", "store", "fetcher", "backup", "health"])
async def test_case_19_no_service_may_wipe(events_as: Callable[[str], Awaitable[Redis]], user: str) -> None:
    client = await events_as(user)
    for command in (("FLUSHALL",), ("FLUSHDB",), ("DEL", ACCEPTED_STREAM), ("UNLINK", ACCEPTED_STREAM), ("RENAME", "a", "b")):
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


async def test_case_19_after_a_wipe_nothing_is_promised_until_a_store_has_noted_it(
    cluster: Cluster, rng: random.Random
) -> None:
    async with open_load(cluster, prefix="c19b") as load:
        kept = await load.submit_many(20)
        await assert_kept(cluster, load)
        cluster.kill("store", stays_down=True)
        tokens = [load.token() for _ in range(rng.randint(5, 30))]
        doomed = [await load.submit(token) for token in tokens]
        wiped = await _wipe(cluster)
        assert wiped == set(doomed)
        await _assert_refused(cluster, load, tokens)
        cluster.start("store")
        await cluster.wait_ready("store")
        assert await metric(cluster, "store", WIPED_AT, stream=ACCEPTED_STREAM) > 0
        assert await _lost(cluster, load) == wiped
        await _assert_counted(cluster, lost=len(wiped))
        again = [await load.submit(token) for token in tokens]
        assert not wiped & set(again), "a key that was forgotten makes a fetch of its own"
        allow = Allowance(may_be_lost=wiped, keys_may_be_forgotten=True, feed_may_be_lost=True)
        findings = await assert_kept(cluster, load, allow=allow)
        assert set(findings.rows) == {*kept, *again}
        await _assert_counted(cluster, lost=len(wiped))


async def _assert_refused(cluster: Cluster, load: Load, tokens: list[str]) -> None:
    """503 with Retry-After for each, whether it is new or was promised before; and nothing of it is kept."""
    before = load.answers[503]
    for token in (*tokens, load.token()):
        assert await load.try_once(token) == (503, None)
    assert load.answers[503] == before + len(tokens) + 1
    line = json.dumps({"url": cluster.origin.url(load.token())}).encode()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {cluster.api_key}"}) as session:
        for path, kind in (("/v1/fetches", "application/json"), ("/v1/batches", "application/x-ndjson")):
            async with session.post(f"{cluster.gateway_url}{path}", data=line, headers={"Content-Type": kind}) as answer:
                document = await answer.json(content_type=None)
            assert (answer.status, document["type"]) == (503, "/problems/events-unavailable")
            assert int(answer.headers["Retry-After"]) > 0
    async with cluster.redis("events") as events:
        assert not await events.exists(ACCEPTED_STREAM, INGESTING_HASH)
