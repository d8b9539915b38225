"""Case 30: the same event more than once, since a reply was lost, or since somebody put it there again. One row each."""

import asyncio
import random

import pytest
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM
from harness.captures import capturing
from harness.checker import assert_kept
from harness.cluster import SERVERS, Cluster, OpenCluster
from harness.load import open_load
from harness.waiting import wait_for

PER_SECOND = 40.0
CUTS = 6
SHARE = 0.1
COUNT = 100


@pytest.mark.parametrize("client", ["gateway", "fetcher"])
async def test_case_30_a_reply_that_is_lost_makes_nothing_twice(open_case: OpenCluster, rng: random.Random, client: str) -> None:
    async with open_case() as cluster:
        wire = await cluster.wire(client, "events")
        cluster.start(*SERVERS)
        await cluster.wait_ready(*SERVERS)
        await cluster.boot()
        async with open_load(cluster, prefix=f"c30{client}") as load:
            async with load.steady(per_second=PER_SECOND):
                for _ in range(CUTS):
                    before = wire.connections
                    wire.cut_replies_after = rng.randrange(1, 60)

                    async def is_cut() -> bool:
                        return wire.cut_replies_after is None

                    async def is_back(before: int = before) -> bool:
                        return wire.connections > before

                    await wait_for("a reply to cut", is_cut)
                    await wait_for("another connection", is_back)
                    await asyncio.sleep(rng.uniform(0.1, 0.5))
            findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.accepted == len(load.submitted)


@pytest.mark.quick
async def test_case_30_entries_that_are_put_back_as_they_are_change_nothing(cluster: Cluster, rng: random.Random) -> None:
    async with capturing(cluster, ACCEPTED_STREAM, ATTEMPTED_STREAM) as captured, open_load(cluster, prefix="c30") as load:
        await load.submit_many(COUNT // 2)
        async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.3)):
            await asyncio.sleep(1)
            again = [(stream, fields) for stream, entries in captured.items() for _, fields in entries]
            chosen = rng.sample(again, max(2, int(len(again) * SHARE)))
            await _append_all(cluster, chosen)
            await asyncio.sleep(1)
        await assert_kept(cluster, load)
        everything = [(stream, fields) for stream, entries in captured.items() for _, fields in entries]
        assert len(everything) > len(again)
        await _append_all(cluster, everything)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert findings.hits == len(load.submitted)
    assert {stream for stream, _ in chosen} <= {ACCEPTED_STREAM, ATTEMPTED_STREAM}


async def _append_all(cluster: Cluster, entries: list[tuple[str, dict[bytes, bytes]]]) -> None:
    async with cluster.redis("events") as events:
        for stream, fields in entries:
            await events.xadd(stream, fields)
