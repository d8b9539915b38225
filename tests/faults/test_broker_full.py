"""Cases 21 and 23: the broker Redis has no memory left, or its disk is full. Dispatch waits; what it took is recovered."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster, OpenCluster
from harness.commands import commands, fill_the_queue
from harness.load import Load, open_load
from harness.recovery import wait_recovered
from harness.small_disk import SmallDisk, small_disk
from harness.waiting import wait_for
from redis.exceptions import OutOfMemoryError, ResponseError

PER_SECOND = 30.0
FULL_SECONDS = 5.0
COUNT = 60
SPARE_BYTES = 16 * 1024 * 1024
VOID_COMMANDS = 8
"""What workers that ended at a refused write had taken; Celery keeps it for ten minutes."""
LOG_OF_THE_BROKER = "appendonly yes\nappendfsync everysec"


async def _refuses(cluster: Cluster, error: type[ResponseError]) -> bool:
    async with cluster.redis("broker") as broker:
        try:
            await broker.set("by-hand", b"x" * 4096)
        except error:
            return True
    return False


async def _failed_passes(cluster: Cluster) -> int:
    """How often the dispatcher, which tries to send or to look, was refused."""
    return sum('"dispatcher"' in line and "loop pass failed" in line for line in cluster.log("store").splitlines())


@asynccontextmanager
async def _under_load(cluster: Cluster, load: Load) -> AsyncIterator[None]:
    """The fault lasts while the context is open; afterwards fetches must finish again as fast as they come."""
    async with load.steady(per_second=PER_SECOND, seconds=(0.0, 0.2)):
        await asyncio.sleep(1)
        before = await _failed_passes(cluster)
        yield
        assert await _failed_passes(cluster) > before, "the dispatcher noticed nothing"
        print(await wait_recovered(cluster, per_second=PER_SECOND))


async def test_case_21_a_broker_without_memory_pauses_dispatch_and_loses_nothing(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c21") as load:
        async with _under_load(cluster, load), cluster.redis("broker") as broker:
            before = (await broker.config_get("maxmemory"))["maxmemory"]
            await broker.config_set("maxmemory", "100kb")
            assert await _refuses(cluster, OutOfMemoryError)
            await asyncio.sleep(FULL_SECONDS)
            assert await _refuses(cluster, OutOfMemoryError)
            await broker.config_set("maxmemory", before)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}


async def test_case_21_what_a_worker_took_from_a_broker_without_memory_comes_back_with_its_lease(cluster: Cluster) -> None:
    """Taking is allowed there and noting who took it is not: such a message is gone, with a worker that starts again."""
    async with open_load(cluster, prefix="c21c") as load:
        waiting = await fill_the_queue(cluster, load, COUNT)
        async with cluster.redis("broker") as broker:
            before = (await broker.config_get("maxmemory"))["maxmemory"]
            await broker.config_set("maxmemory", "100kb")
            cluster.thaw("fetcher")

            async def some_are_gone() -> bool:
                return await commands(cluster) < waiting

            await wait_for("a command that was taken", some_are_gone)
            await cluster.wait_death("fetcher")  # before that it may still be about to note what it took
            await broker.config_set("maxmemory", before)
        findings = await assert_kept(cluster, load, allow=Allowance(void_commands=VOID_COMMANDS))
    assert findings.statuses == {"succeeded": findings.accepted}
    assert findings.redispatched > 0


async def test_case_23_a_broker_whose_disk_is_full_pauses_dispatch_and_loses_nothing(open_case: OpenCluster) -> None:
    async with open_case() as cluster:
        configuration = cluster.folder / "data/broker/valkey.conf"
        text = configuration.read_text(encoding="utf-8").replace("appendonly no", LOG_OF_THE_BROKER)
        assert LOG_OF_THE_BROKER in text
        configuration.write_text(text, encoding="utf-8")
        with small_disk(configuration.parent, spare_bytes=SPARE_BYTES) as disk:
            await cluster.boot()
            async with open_load(cluster, prefix="c23") as load:
                async with _under_load(cluster, load):
                    await _fill(disk, cluster)
                    await asyncio.sleep(FULL_SECONDS)
                    disk.empty()
                findings = await assert_kept(cluster, load, allow=Allowance(void_commands=VOID_COMMANDS))
            assert findings.statuses == {"succeeded": findings.accepted}
            await cluster.close()


async def _fill(disk: SmallDisk, cluster: Cluster) -> None:
    """Until the broker says so: MISCONF, at its next write after the one that failed."""

    async def is_refused() -> bool:
        disk.fill()
        return await _refuses(cluster, ResponseError)

    await wait_for("the broker to refuse writes", is_refused, seconds=15)


async def test_the_store_says_why_nothing_is_sent(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c21b") as load:
        await load.submit_many(1)
        cluster.kill("broker", stays_down=True)
        began = time.monotonic()
        await load.submit_many(5)
        assert time.monotonic() - began < 5, "promises do not wait for the broker"

        async def is_told() -> bool:
            return await _failed_passes(cluster) > 0

        await wait_for("the store's log", is_told)
        cluster.start("broker")
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": findings.accepted}
