"""Cases 1 and 2: the gateway is killed."""

import asyncio
import random
import signal

import pytest
from harness.batches import submit_batch, try_batch
from harness.checker import assert_kept
from harness.cluster import Cluster
from harness.load import open_load
from harness.streams import accepted_ids

AFTER_XADD = "after:gateway.promises.publish:Publisher._append"
"""The event is on disk, and nobody was told."""
CHUNK_FETCHES = 20
TOGETHER = 40
DEATH_SECONDS = 30


async def _arm(cluster: Cluster, failpoint: str, **environment: str) -> None:
    cluster.kill("gateway", stays_down=True)
    cluster.change("gateway", each_time=True, **environment)
    cluster.change("gateway", FAILPOINT=failpoint)
    cluster.start("gateway")
    await cluster.wait_ready("gateway")


async def _assert_killed_itself(cluster: Cluster) -> None:
    async with asyncio.timeout(DEATH_SECONDS):
        while not (deaths := [death for death in cluster.deaths if death.name == "gateway" and not death.was_killed]):
            await asyncio.sleep(0.05)
    assert [death.code for death in deaths] == [-signal.SIGKILL]
    await cluster.wait_ready("gateway")


@pytest.mark.parametrize("is_store_away", [False, True], ids=["store runs", "store is away"])
async def test_case_1_killed_between_xadd_and_202_a_try_again_is_the_same_fetch(cluster: Cluster, *, is_store_away: bool) -> None:
    """With the store away the retry finds nothing but the record beside the event; else the fetch may be over by then."""
    if is_store_away:
        cluster.kill("store", stays_down=True)
    async with open_load(cluster, prefix="c1a" if is_store_away else "c1") as load:
        await _arm(cluster, AFTER_XADD)
        token = load.token()
        assert await load.try_once(token) == (0, None)
        assert load.journal.promises() == []
        await _assert_killed_itself(cluster)
        [promised] = await accepted_ids(cluster)
        assert [await load.submit(token) for _ in range(3)] == [promised] * 3
        cluster.start("store")
        findings = await assert_kept(cluster, load)
        assert set(findings.rows) == {promised} == await accepted_ids(cluster)
        assert findings.statuses == {"succeeded": 1} and findings.hits == 1


async def test_case_1_what_left_in_one_publish_is_the_same_fetches_again(cluster: Cluster, rng: random.Random) -> None:
    async with open_load(cluster, prefix="c1m") as load:
        await _arm(cluster, f"{AFTER_XADD}#{rng.randint(2, 4)}")
        ids = await load.submit_many(TOGETHER)
        await _assert_killed_itself(cluster)
        assert load.answers[0] > 0
        assert len(set(ids)) == TOGETHER and set(ids) == await accepted_ids(cluster)
        findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": TOGETHER}


@pytest.mark.parametrize("chunk", [1, 2, 3], ids=["in its first chunk", "in its second", "with its end"])
async def test_case_1_killed_within_a_batch_a_try_again_completes_the_same_batch(cluster: Cluster, chunk: int) -> None:
    """Two chunks of lines and the end of the batch: each is one publish."""
    async with open_load(cluster, prefix=f"c1b{chunk}") as load:
        await _arm(
            cluster,
            f"{AFTER_XADD}#{chunk}",
            FETCHWORK_BATCH_CHUNK_FETCHES=str(CHUNK_FETCHES),
            FETCHWORK_STORE_TIMEOUT_SECONDS="1",
            FETCHWORK_IDEMPOTENCY_LEASE_SECONDS="4",
        )
        tokens = [load.token() for _ in range(2 * CHUNK_FETCHES - 1)]
        assert await try_batch(cluster, tokens, key="batch") == (0, {})
        await _assert_killed_itself(cluster)
        before = await accepted_ids(cluster)
        assert len(before) == min(chunk * CHUNK_FETCHES, len(tokens))
        receipt = await submit_batch(cluster, tokens, key="batch")
        assert receipt["accepted"] == len(tokens) and receipt["rejected"] == 0
        assert (await submit_batch(cluster, tokens, key="batch"))["id"] == receipt["id"]
        findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": len(tokens)} and before <= set(findings.rows)
        assert {row.token for row in findings.rows.values()} == set(tokens)


@pytest.mark.quick
async def test_case_2_a_gateway_killed_at_random_keeps_every_promise(cluster: Cluster, rng: random.Random) -> None:
    async with open_load(cluster, prefix="c2") as load:
        async with load.steady(per_second=100):
            for _ in range(3):
                await asyncio.sleep(rng.uniform(0.3, 1.5))
                cluster.kill("gateway")
                await cluster.wait_ready("gateway")
        findings = await assert_kept(cluster, load)
    assert findings.accepted == len(load.submitted) > 100
    assert findings.statuses == {"succeeded": findings.accepted}
    assert load.answers[0] > 0, "nobody noticed the kills"
