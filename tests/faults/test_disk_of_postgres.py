"""The disk of Postgres runs full. Fetches are promised as long as the stream takes them, and recorded once there is room."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack

import asyncpg
import pytest
from harness.checker import assert_kept
from harness.cluster import Cluster
from harness.load import open_load
from harness.recovery import wait_recovered
from harness.small_disk import SmallDisk, small_disk
from harness.waiting import meet_hosts, wait_for

PER_SECOND = 20
SPARE_BYTES = 48 * 1024 * 1024
FULL_SECONDS = 5.0
NO_SPACE = "No space left on device"


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    """Closed after the cluster, which must have let go of its disk."""
    with ExitStack() as stack:
        yield stack


async def _use_up_the_log(cluster: Cluster) -> None:
    """Have Postgres begin segment after segment of its log, until it cannot and ends itself."""
    while True:
        async with cluster.database() as connection:
            await connection.execute("SELECT pg_logical_emit_message(true, 'fill', 'x'), pg_switch_wal()")


@pytest.mark.parametrize("is_log_full", [False, True], ids=["tables", "log"])
async def test_a_full_disk_of_postgres_loses_nothing(
    open_case: Callable[..., AbstractAsyncContextManager[Cluster]], mounts: ExitStack, is_log_full: bool
) -> None:
    async with open_case() as cluster:
        disk = mounts.enter_context(small_disk(cluster.folder / "data" / "postgres", spare_bytes=SPARE_BYTES))
        await cluster.boot()
        async with open_load(cluster, prefix=f"disk{is_log_full:d}") as load:
            await meet_hosts(cluster, load)
            async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.2)):
                disk.fill()
                if is_log_full:
                    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                        await _use_up_the_log(cluster)
                await wait_for("an error of the full disk", lambda: _is_in_log(cluster, disk))
                ended = asyncio.get_running_loop().time() + FULL_SECONDS
                while asyncio.get_running_loop().time() < ended:
                    disk.fill()
                    await asyncio.sleep(0.1)
                disk.empty()
                await cluster.wait_ready("postgres")
                await wait_recovered(cluster, per_second=PER_SECOND)
            findings = await assert_kept(cluster, load)
        assert ("PANIC" in cluster.log("postgres")) is is_log_full
        assert findings.statuses == {"succeeded": len(load.submitted)}


async def _is_in_log(cluster: Cluster, disk: SmallDisk) -> bool:
    disk.fill()
    return NO_SPACE in cluster.log("postgres")
