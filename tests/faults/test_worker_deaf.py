"""Case 10: a worker whose connections to the broker are half open. It thinks that there is nothing to do."""

import time

import pytest
from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.load import open_load
from harness.waiting import wait_for

RESTORED_SECONDS = 60.0
SILENT_SECONDS = 3.0
STUCK_EXIT_CODE = 3
RATE = 20


@pytest.mark.parametrize("stuck_seconds", [6, 600], ids=["progress watchdog", "BRPOP watchdog"])
async def test_case_10_a_worker_that_hears_nothing_consumes_again_by_itself(
    open_case: OpenCluster, stuck_seconds: int
) -> None:
    """The worker that looks at its own progress ends first, or Celery drops its own connection; each on its own is enough."""
    async with open_case(FETCHWORK_STUCK_SECONDS=str(stuck_seconds)) as cluster:
        wire = await cluster.wire("fetcher", "broker")
        await cluster.boot()
        async with open_load(cluster, prefix=f"c10-{stuck_seconds}") as load:
            async with load.steady(per_second=RATE):
                await wait_for("fetches that end", lambda: _is_consuming(cluster, 0), seconds=30)
                wire.deafen()
                deaf_at = time.monotonic()
                before = await _ended_until_silence(cluster)
                await wait_for("fetches that end again", lambda: _is_consuming(cluster, before), seconds=RESTORED_SECONDS)
                assert time.monotonic() - deaf_at < RESTORED_SECONDS
            findings = await assert_kept(cluster, load, allow=Allowance(void_commands=8))
        assert findings.statuses == {"succeeded": findings.accepted}
        ended_itself = [death.code for death in cluster.deaths if death.name == "fetcher"]
        assert ended_itself == ([STUCK_EXIT_CODE] if stuck_seconds < RESTORED_SECONDS else [])


async def _ended_until_silence(cluster: Cluster) -> int:
    """How many have ended when none does any more although there is work: what was out when it became deaf still ends."""
    ended, since = await _ended(cluster), time.monotonic()

    async def is_silent() -> bool:
        nonlocal ended, since
        if (now_ended := await _ended(cluster)) != ended:
            ended, since = now_ended, time.monotonic()
        return time.monotonic() - since >= SILENT_SECONDS

    await wait_for("a worker that is deaf", is_silent, seconds=10)
    return ended


async def _ended(cluster: Cluster) -> int:
    async with cluster.database() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM witness.endings"))


async def _is_consuming(cluster: Cluster, before: int) -> bool:
    return await _ended(cluster) > before + RATE
