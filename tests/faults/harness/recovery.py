"""I8: how fast fetches finish again after a fault, as a share of the steady rate at which they are submitted.

Measured under an offered load far below what a small machine carries, so that the share says whether the system recovered and
not how fast the machine is.
"""

import asyncio
import time
from dataclasses import dataclass

from harness.cluster import Cluster

WINDOW_SECONDS = 3.0
SHARE = 0.9
LIMIT_SECONDS = 15.0
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """After so many seconds the last three seconds' finishes were 90 % of what was offered."""

    seconds: float


async def wait_recovered(cluster: Cluster, *, per_second: float, limit_seconds: float = LIMIT_SECONDS) -> Recovery:
    """From now, the end of the fault, until then. Raises AssertionError when that takes longer than `limit_seconds`."""
    began = time.monotonic()
    seen: list[tuple[float, int]] = []
    while True:
        count = await finished(cluster)
        now = time.monotonic()
        if count is not None:
            seen.append((now, count))
            before = [finished for at, finished in seen if at <= now - WINDOW_SECONDS]
            if before and count - before[-1] >= SHARE * per_second * WINDOW_SECONDS:
                return Recovery(seconds=max(0.0, now - began - WINDOW_SECONDS))
        is_late = now - began > limit_seconds + WINDOW_SECONDS
        assert not is_late, f"below {SHARE:.0%} of {per_second}/s for {limit_seconds} s: {seen[-20:]}"
        await asyncio.sleep(LOOK_SECONDS)


async def finished(cluster: Cluster) -> int | None:
    """How many fetches ended so far; None while Postgres does not answer."""
    try:
        async with cluster.database() as connection:
            count: int = await connection.fetchval("SELECT count(*) FROM witness.endings")
            return count
    except Exception:
        return None
