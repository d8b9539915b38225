"""A Celery message that comes twice within its lease: begun, not acknowledged, put back when the connection breaks."""

import pytest
from harness.checker import Allowance, assert_kept
from harness.cluster import SERVERS, OpenCluster
from harness.load import open_load
from harness.metrics import metric
from harness.mutants import MUTANT
from harness.waiting import meet_hosts, wait_for

COUNT = 20
LEASE = {"FETCHWORK_LEASE_MARGIN_SECONDS": "12"}
"""Long enough for the message to come again while it is good."""


@pytest.mark.quick
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_message_that_is_put_back_after_it_began_is_run_once(open_case: OpenCluster, method: str) -> None:
    async with open_case(**LEASE) as cluster:
        wire = await cluster.wire("fetcher", "broker")
        cluster.change("fetcher", **{MUTANT: "lost_acknowledgements"})
        cluster.start(*SERVERS)
        await cluster.wait_ready(*SERVERS)
        await cluster.boot()
        async with open_load(cluster, prefix=f"twice{method}") as load:
            await meet_hosts(cluster, load)
            await load.submit_many(COUNT, method=method, retries={"max": 0})

            async def all_requested() -> bool:
                return cluster.origin.hits().keys() >= set(load.submitted)

            await wait_for("every request", all_requested)
            wire.cut()

            async def came_again() -> bool:
                return await metric(cluster, "fetcher", "fetchwork_commands_dropped_total", reason="repeated") >= 1

            await wait_for("a message that comes again", came_again, seconds=10)
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=100))
        assert findings.statuses == {"succeeded": findings.accepted}
        assert findings.hits == len(load.submitted)
