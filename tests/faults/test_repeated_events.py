"""Case 30: the same event more than once, since a reply was lost, or since somebody put it there again. One row each."""

import asyncio
import json
import random
from collections import Counter

import pytest
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, EVENT_FIELD
from harness.captures import Fields, capturing
from harness.checker import assert_kept
from harness.cluster import SERVERS, Cluster, OpenCluster
from harness.load import open_load
from harness.waiting import wait_for
from harness.wire import Wire

PER_SECOND = 40.0
CUTS = 12
CUTS_LIMIT = 60
SHARE = 0.1
COUNT = 100


async def test_case_30_a_promise_whose_reply_is_lost_is_one_promise(open_case: OpenCluster, rng: random.Random) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c30g") as load:
        wire = await _boot_over_a_wire(cluster, "gateway")
        async with capturing(cluster, ACCEPTED_STREAM) as captured, load.steady(per_second=PER_SECOND):
            for _ in range(CUTS):
                await _cut_a_reply(wire, rng)
        findings = await assert_kept(cluster, load)
        accepted = Counter(fetch for _, fields in captured[ACCEPTED_STREAM] for fetch in _accepted_ids(fields))
        assert set(accepted.values()) == {1}, "the script itself knows a call that is made again"
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.accepted == len(load.submitted) == len(accepted)


async def test_case_30_an_outcome_whose_reply_is_lost_is_recorded_once(open_case: OpenCluster, rng: random.Random) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c30f") as load:
        wire = await _boot_over_a_wire(cluster, "fetcher")
        async with capturing(cluster, ATTEMPTED_STREAM) as captured, load.steady(per_second=PER_SECOND):
            for _ in range(CUTS_LIMIT):
                await _cut_a_reply(wire, rng)
                if twice := _outcomes_twice(captured[ATTEMPTED_STREAM]):
                    break
        assert twice, "no outcome was published twice"
        findings = await assert_kept(cluster, load)
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.accepted == len(load.submitted) == findings.hits


async def _boot_over_a_wire(cluster: Cluster, client: str) -> Wire:
    """All processes, and a wire between a service and the events Redis."""
    wire = await cluster.wire(client, "events")
    cluster.start(*SERVERS)
    await cluster.wait_ready(*SERVERS)
    await cluster.boot()
    return wire


async def _cut_a_reply(wire: Wire, rng: random.Random) -> None:
    """Within the next few bytes that the events Redis answers; return once the client is connected anew."""
    before, wire.cut_replies_after = wire.connections, rng.randrange(1, 60)

    async def is_cut_and_back() -> bool:
        return wire.cut_replies_after is None and wire.connections > before

    await wait_for("a reply to cut, and another connection", is_cut_and_back)
    await asyncio.sleep(rng.uniform(0.1, 0.5))


def _accepted_ids(fields: Fields) -> list[str]:
    return [fetch["id"] for fetch in json.loads(fields[EVENT_FIELD])["data"]["fetches"]]


def _outcomes_twice(entries: list[tuple[str, Fields]]) -> list[tuple[str, int]]:
    """The dispatches of which more than one outcome is in the stream."""
    data = (json.loads(fields[EVENT_FIELD])["data"] for _, fields in entries)
    seen = Counter((each["id"], each["dispatch_seq"]) for each in data)
    return [dispatch for dispatch, times in seen.items() if times > 1]


@pytest.mark.quick
async def test_case_30_entries_that_are_put_back_as_they_are_change_nothing(cluster: Cluster, rng: random.Random) -> None:
    async with capturing(cluster, ACCEPTED_STREAM, ATTEMPTED_STREAM) as captured, open_load(cluster, prefix="c30") as load:
        await load.submit_many(COUNT // 2)
        async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.3)):
            await asyncio.sleep(1)
            for stream, entries in captured.items():
                chosen = rng.sample(entries, max(1, int(len(entries) * SHARE)))
                await _append_all(cluster, [(stream, fields) for _, fields in chosen])
            await asyncio.sleep(1)
        await assert_kept(cluster, load)
        await _append_all(cluster, [(stream, fields) for stream, entries in captured.items() for _, fields in entries])
        findings = await assert_kept(cluster, load)
        async with cluster.database() as connection:
            assert await connection.fetchval("SELECT count(*) FROM hosts WHERE lanes <> '[]'") == 0
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert findings.hits == len(load.submitted)


async def _append_all(cluster: Cluster, entries: list[tuple[str, Fields]]) -> None:
    async with cluster.redis("events") as events:
        for stream, fields in entries:
            await events.xadd(stream, fields)
