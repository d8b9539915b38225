"""Wait for what a case says must come, and say so when it does not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from harness.cluster import Cluster
from harness.load import Load

Value = TypeVar("Value")
LOOK_SECONDS = 0.1


async def wait_for(
    what: str,
    look: Callable[[], Awaitable[Value]],
    *,
    seconds: float = 20.0,
    instead: Callable[[], Awaitable[object]] | None = None,
) -> Value:
    """The first answer of `look` that is true. Raises AssertionError with the last one, or with what there is `instead`."""
    deadline = time.monotonic() + seconds
    while not (answer := await look()):
        if time.monotonic() >= deadline:
            pytest.fail(f"not within {seconds:g} s: {what}; at last {await instead() if instead else answer!r}")
        await asyncio.sleep(LOOK_SECONDS)
    return answer


async def meet_hosts(cluster: Cluster, load: Load) -> None:
    """One fetch of each host of the origin to its end: hosts that nobody knows get one at a time."""
    met: set[str] = set()
    while len(met) < len(cluster.origin.ports):
        met.add(urlsplit(cluster.origin.url(token := load.token())).netloc)
        await load.submit(token)

    async def all_ended() -> bool:
        async with cluster.database() as connection:
            return await connection.fetchval("SELECT count(*) FROM fetch_queue") == 0

    await wait_for("the end of the first fetches", all_ended)
