"""Take a resource away from a running process, and look at what it uses."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from harness.cluster import Cluster

LOOK_SECONDS = 0.1


@contextmanager
def few_files(cluster: Cluster, name: str, *, spare: int) -> Iterator[None]:
    """A process may open no more than `spare` files beyond those that it has, and none below 0, while the context is open."""
    pid = cluster.pid(name)
    _, hard = before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = max(int(entry) for entry in os.listdir(f"/proc/{pid}/fd")) + 1 + spare if spare >= 0 else 0
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@dataclass(slots=True)
class Peak:
    """The most memory that each process used, in bytes."""

    rss_bytes: dict[str, int] = field(default_factory=dict)


@asynccontextmanager
async def watch_memory(cluster: Cluster, *names: str) -> AsyncIterator[Peak]:
    """Look at these processes ten times a second while the context is open."""
    peak = Peak()

    async def look() -> None:
        while True:
            for name in names:
                with suppress(psutil.NoSuchProcess, AssertionError):
                    rss_bytes = psutil.Process(cluster.pid(name)).memory_info().rss
                    peak.rss_bytes[name] = max(rss_bytes, peak.rss_bytes.get(name, 0))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield peak
    finally:
        looking.cancel()
