"""Cases 1 and 2: the gateway is killed."""

import asyncio
import random

import pytest
from harness.checker import assert_kept
from harness.cluster import Cluster
from harness.load import open_load


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
