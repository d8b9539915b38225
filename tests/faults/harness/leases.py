"""What is out with the workers, as the queue in Postgres has it, and whether it comes back when its leases end."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """A fetch that a worker may have: which dispatch that was, and when its lease ends (time.time)."""

    id: str
    dispatch_seq: int
    lease_ends_at: float


async def out_now(cluster: Cluster) -> Sequence[Out]:
    """Everything that is out."""
    async with cluster.database() as connection:
        rows = await connection.fetch(
            "SELECT id::text, dispatch_seq, extract(epoch FROM run_at)::float8 AS lease_ends_at FROM fetch_queue"
            " WHERE state = 'running' AND run_at > now()"
        )
    return [Out(**row) for row in rows]


async def seconds_after_leases(cluster: Cluster, out: Sequence[Out]) -> float:
    """How long after the end of its lease the last of these fetches became terminal; negative when none needed so long."""
    async with cluster.database() as connection:
        rows = await connection.fetch(
            "SELECT id::text, extract(epoch FROM at)::float8 AS at FROM witness.endings WHERE id = ANY($1::uuid[])",
            [fetch.id for fetch in out],
        )
    ended_at = {row["id"]: row["at"] for row in rows}
    return max(ended_at[fetch.id] - fetch.lease_ends_at for fetch in out)


async def have_ended(cluster: Cluster, identifiers: Sequence[str]) -> bool:
    """Whether none of these fetches waits or is out."""
    async with cluster.database() as connection:
        return bool(
            await connection.fetchval("SELECT count(*) = 0 FROM fetch_queue WHERE id = ANY($1::uuid[])", list(identifiers))
        )


async def is_idle(cluster: Cluster) -> bool:
    """Whether every fetch has ended."""
    async with cluster.database() as connection:
        return bool(await connection.fetchval("SELECT count(*) = 0 FROM fetch_queue"))
