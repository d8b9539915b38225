"""Case 29: fetches that kill their worker each time they are started."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.leases import have_ended, is_idle
from harness.load import open_load
from harness.mutants import MUTANT
from harness.poison import POISON
from harness.waiting import wait_for

DISPATCHES = 3
NEIGHBOURS = 12
POISONS = 2
RATE = 5
FIRST = 64
QUICK = {"timeout_seconds": 1.0}
ENVIRONMENT = {
    "FETCHWORK_ABANDON_AFTER_DISPATCHES": str(DISPATCHES),
    "FETCHWORK_LEASE_MARGIN_SECONDS": "1.5",
    "FETCHWORK_TRAIN_SECONDS": "0",
}
"""So that a third lease ends soon."""


async def test_case_29_a_poison_fetch_is_abandoned_and_takes_no_other_with_it(open_case: OpenCluster) -> None:
    """Those that are out with it are slow enough to be there each time that it kills."""
    async with open_case(**ENVIRONMENT) as cluster:
        cluster.change("fetcher", each_time=True, **{MUTANT: "poison"})
        await cluster.boot()
        async with open_load(cluster, prefix="c29") as load:
            await load.submit_many(FIRST)  # so that all hosts are known, which take one at a time before
            await wait_for("an idle worker", lambda: is_idle(cluster), seconds=30)
            async with load.steady(per_second=RATE, **QUICK):
                neighbours = load.submit_many(NEIGHBOURS, seconds=0.6, **QUICK)
                poisons = asyncio.gather(*(load.submit(f"c29-{POISON}-{number}", **QUICK) for number in range(POISONS)))
                identifiers, poison_ids = await asyncio.gather(neighbours, poisons)
                await wait_for("the end of the poison", lambda: have_ended(cluster, poison_ids), seconds=90)
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=100))
            started = await _dispatches(cluster, poison_ids)
        deaths = [death.code for death in cluster.deaths if death.name == "fetcher"]
    assert set(deaths) == {-9}
    assert 2 <= len(deaths) <= POISONS * DISPATCHES
    assert started == [DISPATCHES] * POISONS
    assert {findings.rows[identifier].error_type for identifier in poison_ids} == {"abandoned"}
    others = Counter(row.error_type or row.status for row in findings.rows.values() if row.id not in poison_ids)
    assert others == {"succeeded": len(findings.rows) - POISONS}, others
    assert set(identifiers) < findings.rows.keys()


async def _dispatches(cluster: Cluster, identifiers: Sequence[str]) -> list[int]:
    async with cluster.database() as connection:
        rows = await connection.fetch(
            "SELECT max(dispatch_seq) AS seq FROM witness.dispatches WHERE id = ANY($1::uuid[]) GROUP BY id", identifiers
        )
    return [row["seq"] for row in rows]
