"""Case 35: every connection to both Redis servers is reset each second. Whoever is left as a zombie is found here."""

import asyncio
import random

from harness.checker import Allowance, assert_kept
from harness.cluster import SERVERS, OpenCluster
from harness.load import open_load
from harness.recovery import wait_recovered

LINKS = (("gateway", "events"), ("store", "events"), ("store", "broker"), ("fetcher", "events"), ("fetcher", "broker"))
FLAPS = 60
FLAP_SECONDS = 1.0
PER_SECOND = 25.0
SENT_AGAIN = 2
"""A command whose message came back with the connection, at most so often."""


async def test_case_35_connections_reset_each_second_leave_no_zombie(open_case: OpenCluster, rng: random.Random) -> None:
    """Without the watchdog, which would end a zombie and so hide it."""
    async with open_case(FETCHWORK_STUCK_SECONDS="600") as cluster:
        wires = [await cluster.wire(client, server) for client, server in LINKS]
        cluster.start(*SERVERS)
        await cluster.wait_ready(*SERVERS)
        await cluster.boot()
        async with open_load(cluster, prefix="c35") as load:
            async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.4)):
                before = [wire.connections for wire in wires]
                for _ in range(FLAPS):
                    await asyncio.sleep(FLAP_SECONDS * rng.uniform(0.8, 1.2))
                    for wire in wires:
                        wire.cut()
                assert all(wire.connections > count for wire, count in zip(wires, before, strict=True)), "a link was not used"
                recovery = await wait_recovered(cluster, per_second=PER_SECOND)
            findings = await assert_kept(cluster, load, allow=Allowance(extra_hits=SENT_AGAIN))
        print(recovery)
        assert findings.statuses == {"succeeded": findings.accepted}
        assert cluster.deaths == []
