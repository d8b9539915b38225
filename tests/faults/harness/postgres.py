"""What a case does to Postgres from inside: slow commits, who commits now, the pids of a store's sessions."""

import asyncio
import os
import signal

import asyncpg

from harness.cluster import Cluster

LOOK_SECONDS = 0.005
STORE_SESSIONS = "application_name = 'fetchwork-store'"


async def slow_commits(cluster: Cluster, *, microseconds: int) -> None:
    """Each COMMIT waits so long between writing its record and making it durable."""
    async with cluster.database() as connection:
        await connection.execute(f"ALTER SYSTEM SET commit_delay = {microseconds}")
        await connection.execute("ALTER SYSTEM SET commit_siblings = 0")
        await connection.execute("SELECT pg_reload_conf()")


async def backend_in_commit(connection: asyncpg.Connection, *, seconds: float = 20.0) -> int:
    """The pid of a store's session in the middle of a COMMIT. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            pid: int | None = await connection.fetchval(
                "SELECT pid FROM pg_stat_activity"
                f" WHERE {STORE_SESSIONS} AND state = 'active' AND query = 'COMMIT;' LIMIT 1"
            )
            if pid is not None:
                return pid
            await asyncio.sleep(LOOK_SECONDS)


async def store_backends(connection: asyncpg.Connection) -> list[int]:
    """The pids of all sessions of stores, those at work first."""
    rows = await connection.fetch(
        f"SELECT pid FROM pg_stat_activity WHERE {STORE_SESSIONS} ORDER BY state = 'active' DESC, state_change DESC"
    )
    return [row["pid"] for row in rows]


def signal_backend(pid: int, number: signal.Signals) -> None:
    """Send a signal to one session's process, which is a child of the cluster's own Postgres."""
    os.kill(pid, number)
