"""How long promised fetches took from acceptance to their end, kills and all."""

from dataclasses import dataclass

from harness.cluster import Cluster

QUANTILES = "SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99, 1.0]) WITHIN GROUP (ORDER BY finished_at - accepted_at) FROM fetches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """In seconds."""

    p50: float
    p95: float
    p99: float
    longest: float


async def latencies(cluster: Cluster) -> Latencies:
    """Of all that ended in this case."""
    async with cluster.database() as connection:
        p50, p95, p99, longest = (found.total_seconds() for found in await connection.fetchval(QUANTILES))
    return Latencies(p50=p50, p95=p95, p99=p99, longest=longest)
