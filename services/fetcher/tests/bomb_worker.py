"""A process of its own that performs the fetches it is given, four at a time, and says what came of them and how it grew.

Arguments: one URL to warm up with, then any number of others. Prints one JSON object.
"""

import asyncio
import json
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import uvloop
from common.clock import utc_now
from common.contracts.fetches import BODY_DEFAULT_BYTES, FetchRequest, PerformFetch
from common.egress.policies import TargetPolicy
from common.ids import new_fetch_id

from fetcher.egress.budgets import Budgets
from fetcher.egress.client import EgressClient
from fetcher.perform import perform


def _peak_bytes() -> int:
    """The most memory that this process ever held. (`ru_maxrss` may be that of the parent, which Linux hands on.)"""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


async def _run(warm_up: str, urls: list[str]) -> dict[str, object]:
    policy = TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))
    client = EgressClient(policy, user_agent="bombs/1", budgets=Budgets(first_byte_seconds=2.0, idle_seconds=1.0))
    slots = asyncio.Semaphore(4)

    async def fetch(asked: str) -> str:
        url, _, limit = asked.partition("#")  # a fragment says how large the body may be
        request = FetchRequest(url=url, timeout_seconds=4, max_bytes=int(limit or BODY_DEFAULT_BYTES))
        command = PerformFetch(
            id=new_fetch_id(), dispatch_seq=1, lease_ends_at=utc_now() + timedelta(seconds=60), request=request
        )
        async with slots:
            outcome = (await perform(command, client=client)).outcome
        return outcome.error.type if outcome.error else str(outcome.response and outcome.response.status)

    await fetch(warm_up)
    before = _peak_bytes()
    came_of = await asyncio.gather(*(fetch(url) for url in urls))
    await client.close()
    return {"growth_bytes": _peak_bytes() - before, "peak_bytes": _peak_bytes(), "came_of": came_of}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(sys.argv[1], sys.argv[2:]))))
