"""Case 15: the events Redis is killed while it is written to. What it acknowledged is on disk; all come back by themselves."""

import asyncio
import random

from harness.checker import Allowance, assert_kept
from harness.cluster import RESTART_SECONDS, Cluster
from harness.load import open_load
from harness.recovery import wait_recovered
from harness.streams import accepted_ids

ROUNDS = 3
PER_SECOND = 40
RECOVERED_SECONDS = 10.0
WITHOUT_SERVER_SECONDS = RESTART_SECONDS / 2
"""After a death there is no server for at least this long, so nobody can have been promised anything."""


async def test_case_15_every_promise_outlives_kills_of_the_events_redis(cluster: Cluster, rng: random.Random) -> None:
    others = {name: cluster.pid(name) for name in ("gateway", "store", "fetcher")}
    windows = []
    async with open_load(cluster, prefix="c15") as load:
        async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.2, 1.0)):
            for _ in range(ROUNDS):
                await asyncio.sleep(rng.uniform(0.3, 1.5))
                promised = len(load.journal.promises())
                cluster.kill("events")
                died_at = cluster.deaths[-1].at
                windows.append((died_at, died_at + WITHOUT_SERVER_SECONDS))
                await cluster.wait_ready("events")
                assert {promise.id for promise in load.journal.promises()[:promised]} <= await accepted_ids(cluster)
                recovery = await wait_recovered(cluster, per_second=PER_SECOND, limit_seconds=RECOVERED_SECONDS)
                print(f"recovered in {recovery.seconds:.1f} s")  # noqa: T201
        findings = await assert_kept(cluster, load, allow=Allowance(no_promise_windows=windows))
        journaled = {promise.id for promise in load.journal.promises()}
    assert cluster.kills["events"] == ROUNDS and load.answers[503] > 0, "nobody noticed the kills"
    assert set(load.answers) == {202, 503}
    assert journaled <= await accepted_ids(cluster)
    assert findings.statuses["succeeded"] == len(findings.rows)
    assert {name: cluster.pid(name) for name in others} == others, "somebody had to be started again"
