"""Cases 4 and 9: workers stand still, with commands that they have taken and nobody else can see."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
from common.streams.names import ATTEMPTED_STREAM, COMMAND_QUEUE
from harness.checker import assert_kept
from harness.cluster import Cluster
from harness.leases import Out, have_ended, is_idle, out_now, seconds_after_leases
from harness.load import Load, open_load
from harness.unacked import UNACKED
from harness.waiting import wait_for
from redis.asyncio import Redis

SLACK_SECONDS = 5.0
CLOCK_SECONDS = 0.05
"""By so much the clocks of two processes may differ."""
TRIES = 20
FIRST = 64
HELD_TIMEOUT_SECONDS = 5.0


@pytest.mark.quick
async def test_case_4_a_command_that_a_dead_worker_took_and_nobody_recorded_is_recovered(cluster: Cluster) -> None:
    """Redis gave it away, Celery never wrote that down: on its own Celery loses it. The lease does not."""
    async with open_load(cluster, prefix="c4") as load:
        lost = await _take_into_a_frozen_worker(cluster, load)
        async with cluster.redis("broker") as broker:
            assert (await broker.llen(COMMAND_QUEUE), await broker.hlen(UNACKED)) == (0, 0)
            cluster.kill("fetcher")
            assert (await broker.llen(COMMAND_QUEUE), await broker.hlen(UNACKED)) == (0, 0), "it is not lost"
        findings = await assert_kept(cluster, load)
    (hit,) = cluster.origin.hits()[findings.rows[lost[0].id].token]
    assert hit.at > lost[0].lease_ends_at - CLOCK_SECONDS, "it came back before the end of its lease"
    assert findings.redispatched == 1
    assert findings.statuses == {"succeeded": findings.accepted}
    assert findings.hits == findings.accepted
    assert await seconds_after_leases(cluster, lost) < SLACK_SECONDS


async def test_case_9_what_a_thawed_worker_does_late_is_harmless_and_a_post_is_never_sent_twice(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c9") as load:
        await load.submit_many(FIRST)  # so that all hosts are known, which take one at a time before
        await wait_for("an idle worker", lambda: is_idle(cluster), seconds=30)
        with cluster.origin.holding():
            running = await load.submit_many(20, timeout_seconds=HELD_TIMEOUT_SECONDS)
            posts = await load.submit_many(10, method="POST", retries={"max": 0}, timeout_seconds=HELD_TIMEOUT_SECONDS)
            running_tokens = load.submitted[FIRST:]
            await wait_for("requests at the origin", lambda: _have_arrived(cluster, running_tokens), seconds=30)
            cluster.freeze("fetcher")
        outcomes = await _outcomes(cluster)
        held = await out_now(cluster)
        assert {fetch.id for fetch in held} >= {*running, *posts}
        cluster.add_replica("fetcher", "fetcher2")
        cluster.start("fetcher2")
        await wait_for("the end of all that it held", lambda: have_ended(cluster, [*running, *posts]), seconds=30)
        assert await seconds_after_leases(cluster, held) < SLACK_SECONDS
        ended = await _outcomes(cluster)
        assert ended - outcomes >= len(running), "nobody else made them"
        cluster.thaw("fetcher")
        await wait_for("a late outcome", partial(_has_more, partial(_outcomes, cluster), than=ended), seconds=30)
        findings = await assert_kept(cluster, load)
    rows = [findings.rows[identifier] for identifier in posts]
    assert {row.status for row in rows} == {"failed"} and {row.error_type for row in rows} == {"abandoned"}
    hits = cluster.origin.hits()
    assert [len(hits[row.token]) for row in rows] == [1] * len(posts)
    assert [len(hits[findings.rows[identifier].token]) for identifier in running] == [2] * len(running)
    assert findings.statuses == {"succeeded": FIRST + len(running), "failed": len(posts)}


async def test_case_9_a_thawed_worker_drops_commands_whose_leases_have_ended(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c9-void") as load:
        lost = await _take_into_a_frozen_worker(cluster, load, method="POST", retries={"max": 0})
        await wait_for("the end of its lease", lambda: have_ended(cluster, [fetch.id for fetch in lost]), seconds=30)
        cluster.thaw("fetcher")
        await wait_for("a dropped command", lambda: _has_dropped(cluster), seconds=30)
        findings = await assert_kept(cluster, load)
    (identifier,) = [fetch.id for fetch in lost]
    assert findings.rows[identifier].error_type == "abandoned"
    assert findings.rows[identifier].token not in cluster.origin.hits(), "it was sent although its lease had ended"


async def _take_into_a_frozen_worker(cluster: Cluster, load: Load, **request: object) -> list[Out]:
    """Freeze the worker while it waits for a command, and have Redis give it one at once.

    Redis ends each such wait after a second at most; what comes later stays in the queue, and then this tries again.
    """
    async with cluster.redis("broker") as broker:
        for _ in range(TRIES):
            await wait_for("a worker that waits", lambda: _waits_for_commands(broker), seconds=30)
            sent = await _lpushes(broker)
            cluster.freeze("fetcher")
            await load.submit(**request)
            await wait_for("a command", partial(_has_more, partial(_lpushes, broker), than=sent), seconds=5)
            if await broker.llen(COMMAND_QUEUE) == 0 and await broker.hlen(UNACKED) == 0:
                return list(await out_now(cluster))
            cluster.thaw("fetcher")
            await wait_for("an idle worker", lambda: is_idle(cluster), seconds=30)
    pytest.fail(f"Redis gave away nothing in {TRIES} tries")


async def _has_more(count: Callable[[], Awaitable[int]], *, than: int) -> bool:
    return await count() > than


async def _have_arrived(cluster: Cluster, tokens: Sequence[str]) -> bool:
    return not set(tokens) - cluster.origin.hits().keys()


async def _lpushes(broker: Redis) -> int:
    statistics = await broker.info("commandstats")
    return int(statistics.get("cmdstat_lpush", {"calls": 0})["calls"])


async def _waits_for_commands(broker: Redis) -> bool:
    return any(client["cmd"] == "brpop" and "b" in client["flags"] for client in await broker.client_list())


async def _outcomes(cluster: Cluster) -> int:
    async with cluster.redis("events") as events:
        return int((await events.xinfo_stream(ATTEMPTED_STREAM))["entries-added"])


async def _has_dropped(cluster: Cluster) -> bool:
    return 'fetchwork_commands_dropped_total{reason="lease_ended"} 1.0' in await cluster.metrics("fetcher")
