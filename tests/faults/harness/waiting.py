"""Wait for what a case says must come, and say so when it does not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from harness.cluster import Cluster

Value = TypeVar("Value")
LOOK_SECONDS = 0.1


async def wait_for(what: str, look: Callable[[], Awaitable[Value]], *, seconds: float = 20.0) -> Value:
    """The first answer of `look` that is true. Raises AssertionError with the last one."""
    deadline = time.monotonic() + seconds
    while not (answer := await look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; at last {answer!r}"
        await asyncio.sleep(LOOK_SECONDS)
    return answer


async def metric(cluster: Cluster, name: str, series: str) -> float:
    """What a service exports under a name with its labels, such as `x_total{stream="y"}`; 0 when it has none such."""
    for line in (await cluster.metrics(name)).splitlines():
        if line.startswith(f"{series} "):
            return float(line.rpartition(" ")[2])
    return 0.0
