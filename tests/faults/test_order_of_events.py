"""Case 31: events out of order. Outcomes before their accepts, the next attempt before this one, whatever comes after the end."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchAttempted, FetchesAccepted
from common.ids import new_event_id, new_fetch_id
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, EVENT_FIELD, STORE_GROUP
from fetchwork_local.ports import free_port
from harness.captures import Captured, Fields, capturing
from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.leases import Out, out_now
from harness.load import Load, open_load
from harness.waiting import meet_hosts, wait_for

COUNT = 10
LONG_LEASE = {"FETCHWORK_LEASE_MARGIN_SECONDS": "60"}
FUTURE = 7
"""A dispatch that nobody made."""

PARKED = Allowance(dead_letters=1)
"""An outcome of what the ledger does not know is kept where an operator sees it."""


def _attempts(captured: Captured) -> Mapping[str, Fields]:
    """The last outcome of each fetch."""
    return {json.loads(fields[EVENT_FIELD])["data"]["id"]: fields for _, fields in captured[ATTEMPTED_STREAM]}


def _accepts(captured: Captured) -> Mapping[str, Fields]:
    """The event that accepted each fetch, each by itself."""
    found = {}
    for _, fields in captured[ACCEPTED_STREAM]:
        event = json.loads(fields[EVENT_FIELD])
        for fetch in event["data"]["fetches"]:
            alone = {**event, "data": {**event["data"], "fetches": [fetch]}}
            found[fetch["id"]] = {**fields, EVENT_FIELD: json.dumps(alone).encode()}
    return found


def _changed(fields: Fields, **data: Any) -> Fields:
    """The same outcome with other members; still one by the contract."""
    event = json.loads(fields[EVENT_FIELD])
    event = {**event, "id": new_event_id(), "data": {**event["data"], **data}}
    text = json.dumps(event).encode()
    Envelope[FetchAttempted].model_validate_json(text)
    return {**fields, EVENT_FIELD: text}


async def _append(cluster: Cluster, stream: str, *entries: Fields) -> None:
    """Put them there and return once the store has taken and acknowledged them."""
    async with cluster.redis("events") as events:
        for fields in entries:
            last = await events.xadd(stream, fields)

        async def is_consumed() -> bool:
            groups = await events.xinfo_groups(stream)
            [group] = [each for each in groups if each["name"] in (STORE_GROUP, STORE_GROUP.encode())]
            return _place(group["last-delivered-id"]) >= _place(last) and group["pending"] == 0

        await wait_for("the store to take what was put there", is_consumed)


def _place(identifier: bytes | str) -> tuple[int, int]:
    milliseconds, _, sequence = (identifier.decode() if isinstance(identifier, bytes) else identifier).partition("-")
    return int(milliseconds), int(sequence)


async def _assert_hosts_are_free(cluster: Cluster, load: Load, *, allow: Allowance | None = None) -> None:
    """No host waits for a dispatch that nobody made; the next fetch of each is made at once."""
    async with cluster.database() as connection:
        assert await connection.fetchval("SELECT count(*) FROM hosts WHERE lanes <> '[]'") == 0
    await load.submit_many(2 * COUNT)
    await assert_kept(cluster, load, allow=allow)


async def test_case_31_an_outcome_before_its_accept_is_not_taken_for_one(cluster: Cluster) -> None:
    async with capturing(cluster, ACCEPTED_STREAM, ATTEMPTED_STREAM) as captured, open_load(cluster, prefix="c31a") as load:
        known = await load.submit(load.token())
        await assert_kept(cluster, load)
        early, token = str(new_fetch_id()), load.token()
        await _append(cluster, ATTEMPTED_STREAM, _changed(_attempts(captured)[known], id=early))
        event = json.loads(_accepts(captured)[known][EVENT_FIELD])
        fetch = {**event["data"]["fetches"][0], "id": early}
        fetch["request"] = {**fetch["request"], "url": cluster.origin.url(token)}
        fetch["host"] = cluster.origin.url(token).split("/")[2]
        event = {**event, "id": new_event_id(), "subject": early, "data": {**event["data"], "fetches": [fetch]}}
        text = json.dumps(event).encode()
        Envelope[FetchesAccepted].model_validate_json(text)
        await _append(cluster, ACCEPTED_STREAM, {EVENT_FIELD: text})
        findings = await assert_kept(cluster, load, allow=PARKED)
        assert findings.rows[early].status == "succeeded"
        assert len(cluster.origin.hits()[token]) == 1
        async with cluster.database() as connection:
            assert await connection.fetchval("SELECT count(*) FROM dead_letters WHERE stream = $1", ATTEMPTED_STREAM) == 1
        await _assert_hosts_are_free(cluster, load, allow=PARKED)


async def test_case_31_the_outcome_of_a_later_dispatch_schedules_nothing(open_case: OpenCluster) -> None:
    async with open_case(**LONG_LEASE) as cluster:
        await cluster.boot()
        async with capturing(cluster, ATTEMPTED_STREAM) as captured, open_load(cluster, prefix="c31b") as load:
            await meet_hosts(cluster, load)
            failed = await _failure(cluster, captured, load)
            cluster.freeze("fetcher")
            pending = await load.submit_many(COUNT)

            async def all_out() -> bool:
                async with cluster.database() as connection:
                    return await connection.fetchval("SELECT count(*) FROM fetch_queue WHERE state = 'running'") == COUNT

            await wait_for("all to be out", all_out)
            early = (_changed(failed, id=each, dispatch_seq=FUTURE) for each in pending)
            await _append(cluster, ATTEMPTED_STREAM, *early)
            assert await all_out(), "an outcome of another dispatch ended or rescheduled one that is out"
            cluster.thaw("fetcher")
            findings = await assert_kept(cluster, load)
            assert {findings.rows[each].status for each in pending} == {"succeeded"}
            assert findings.redispatched == 0
            await _assert_hosts_are_free(cluster, load)


async def test_case_31_a_failure_of_an_earlier_dispatch_schedules_nothing(cluster: Cluster) -> None:
    async with capturing(cluster, ATTEMPTED_STREAM) as captured, open_load(cluster, prefix="c31d") as load:
        await meet_hosts(cluster, load)
        failed = await _failure(cluster, captured, load)
        cluster.freeze("fetcher")
        pending = await load.submit_many(COUNT, seconds=2.0)
        cluster.add_replica("fetcher", "fetcher2")
        cluster.start("fetcher2")

        async def out_again() -> Sequence[Out]:
            return [fetch for fetch in await out_now(cluster) if fetch.dispatch_seq > 1]

        await wait_for("some to be out again", out_again)
        cluster.freeze("fetcher2")
        late = [_changed(failed, id=fetch.id, dispatch_seq=1) for fetch in await out_again()]
        assert late
        await _append(cluster, ATTEMPTED_STREAM, {EVENT_FIELD: b"what the worker reported before it froze is recorded"})
        before = await _counted(cluster)
        await _append(cluster, ATTEMPTED_STREAM, *late)
        assert await _counted(cluster) == before, "an outcome of an earlier dispatch counted as one of the dispatch that is out"
        cluster.thaw("fetcher")
        cluster.thaw("fetcher2")
        findings = await assert_kept(cluster, load, allow=PARKED)
        assert {findings.rows[each].status for each in pending} == {"succeeded"}
        await _assert_hosts_are_free(cluster, load, allow=PARKED)


async def _counted(cluster: Cluster) -> int:
    """How many attempts of fetches that are not terminal were answered."""
    async with cluster.database() as connection:
        count: int = await connection.fetchval("SELECT coalesce(sum(attempts), 0) FROM fetch_queue")
        return count


@pytest.mark.quick
async def test_case_31_whatever_comes_after_the_end_changes_nothing(cluster: Cluster) -> None:
    async with capturing(cluster, ACCEPTED_STREAM, ATTEMPTED_STREAM) as captured, open_load(cluster, prefix="c31c") as load:
        ended = await load.submit_many(COUNT)
        failed = await _failure(cluster, captured, load)
        before = await assert_kept(cluster, load)
        failed_id = json.loads(failed[EVENT_FIELD])["data"]["id"]
        succeeded = _attempts(captured)[ended[0]]
        for each in ended:
            later = [_changed(failed, id=each, dispatch_seq=seq) for seq in (1, 2, FUTURE)]
            await _append(cluster, ATTEMPTED_STREAM, *later, _changed(succeeded, id=each, dispatch_seq=FUTURE))
        late = (_changed(succeeded, id=failed_id, dispatch_seq=seq) for seq in (1, 2))
        await _append(cluster, ATTEMPTED_STREAM, *late)
        await _append(cluster, ACCEPTED_STREAM, *(_accepts(captured)[each] for each in [*ended, failed_id]))
        after = await assert_kept(cluster, load)
        assert after.rows == before.rows and after.hits == before.hits
        assert after.rows[failed_id].status == "failed"
        await _assert_hosts_are_free(cluster, load)


async def _failure(cluster: Cluster, captured: Captured, load: Load) -> Fields:
    """The outcome of a fetch that failed, and may be tried again by its kind, of a host that does not listen."""
    token = load.token()
    url = f"http://{cluster.origin.address}:{free_port(cluster.origin.address)}/f/{token}"
    identifier = await load.submit(token, url=url, retries={"max": 0})

    async def outcome() -> Fields | None:
        return _attempts(captured).get(identifier)

    fields = await wait_for("the failure", outcome)
    assert fields is not None
    data = json.loads(fields[EVENT_FIELD])["data"]
    assert data["outcome"]["kind"] == "failed" and data["outcome"]["is_retryable"], data
    return fields
