"""The first figures of a stack on this machine: ready time, idle latency, fetches per second, memory.

`make bench` prints them. They are absolute and so belong to the machine they were taken on; comparisons with other
designs are for a benchmark that runs those beside this one.
"""

import argparse
import asyncio
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import aiohttp
import psutil
from bulk import accept_in_bulk, wait_until_ingested
from common.contracts.fetches import FetchRequest
from contest.stack_run import finished_fetches, ledger_of, resident_mebibytes
from fetchwork_local.stack import Stack
from rich.console import Console
from rich.progress import Progress

LATENCY_FETCHES = 200
LATENCY_POLL_SECONDS = 0.002
FINISH_POLL_SECONDS = 0.05
CONNECTIONS = 32
FINISH_TIMEOUT_SECONDS = 300.0
FETCH_TIMEOUT_SECONDS = 60.0
READS = 1000
BACKLOG_HOSTS = 1000
BACKLOG_WARM_UP = 2000
PAUSED_HOST = "paused.test"
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured. Seconds, fetches per second, and mebibytes of resident memory by process."""

    machine: str
    ready_seconds: float
    second_ready_seconds: float
    latency_p50_seconds: float
    latency_p95_seconds: float
    fetches: int
    accepted_per_second: float
    finished_per_second: float
    resident_mebibytes: dict[str, float]


async def _latencies(session: aiohttp.ClientSession, url: str, progress: Progress) -> list[float]:
    """POST → finished on an idle stack, one after another."""
    seconds = []
    for number in progress.track(range(LATENCY_FETCHES), description="idle latency"):
        started = time.perf_counter()
        path = await _submit(session, f"{url}?l={number}")
        async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
            while await _status(session, path) not in TERMINAL:
                await asyncio.sleep(LATENCY_POLL_SECONDS)
        seconds.append(time.perf_counter() - started)
    return seconds


async def _volume(session: aiohttp.ClientSession, url: str, stack: Stack, fetches: int) -> tuple[float, float]:
    """Accepted and finished fetches per second, from the first POST until the store has recorded the last."""
    gate = asyncio.Semaphore(CONNECTIONS)

    async def submit(number: int) -> None:
        async with gate:
            await _submit(session, f"{url}?v={number}")

    async with ledger_of(stack) as ledger:
        before, started = await finished_fetches(ledger), time.perf_counter()
        await asyncio.gather(*(submit(number) for number in range(fetches)))
        accepted = time.perf_counter()
        async with asyncio.timeout(FINISH_TIMEOUT_SECONDS):
            while await finished_fetches(ledger) - before < fetches:
                await asyncio.sleep(FINISH_POLL_SECONDS)
    return fetches / (accepted - started), fetches / (time.perf_counter() - started)


async def _submit(session: aiohttp.ClientSession, url: str) -> str:
    async with session.post("/v1/fetches", json={"url": url}) as answer:
        if answer.status != 202:
            raise SystemExit(f"not accepted: {answer.status} {await answer.text()}")
        return answer.headers["Location"]


async def _status(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as answer:
        answer.raise_for_status()
        return str((await answer.json())["status"])


async def _measure(stack: Stack, fetches: int, progress: Progress) -> tuple[Sequence[float], float, float]:
    status = stack.status()
    headers = {"Authorization": f"Bearer {status.api_key}"}
    page = f"{(status.demo or '').rstrip('/')}/bytes/10000"
    async with aiohttp.ClientSession(base_url=status.gateway, headers=headers) as session:
        latencies = await _latencies(session, page, progress)
        accepted, finished = await _volume(session, page, stack, fetches)
    return latencies, accepted, finished


def measure(fetches: int) -> Figures:
    """Start a stack of its own, measure, and stop it."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as folder:
        stack = Stack(Path(folder) / "home", environment={"FETCHWORK_HOST_MAX_IN_FLIGHT": "256"})  # one origin for all
        started = time.perf_counter()
        stack.start()
        ready_seconds = time.perf_counter() - started
        stack.stop()
        started = time.perf_counter()
        stack.start()
        second_ready_seconds = time.perf_counter() - started
        try:
            with Progress(console=console) as progress:
                latencies, accepted, finished = asyncio.run(_measure(stack, fetches, progress))
            resident = resident_mebibytes(stack.status())
        finally:
            stack.stop()
    return Figures(
        machine=f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {platform.python_version()}",
        ready_seconds=round(ready_seconds, 2),
        second_ready_seconds=round(second_ready_seconds, 2),
        latency_p50_seconds=round(statistics.median(latencies), 4),
        latency_p95_seconds=round(statistics.quantiles(latencies, n=20)[-1], 4),
        fetches=fetches,
        accepted_per_second=round(accepted, 1),
        finished_per_second=round(finished, 1),
        resident_mebibytes=resident,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a backlog of fetches that are not due costs. Mebibytes of resident memory by process; the store has the dispatcher."""

    queued: int
    accepted_seconds: float
    resident_mebibytes_before: dict[str, float]
    resident_mebibytes_after: dict[str, float]
    read_p50_seconds: float
    read_p95_seconds: float


async def _read_latencies(session: aiohttp.ClientSession, ids: Sequence[UUID]) -> list[float]:
    """`GET /v1/fetches/{id}` of pending fetches, one after another."""
    seconds = []
    for fetch_id in random.Random(1).choices(ids, k=READS):
        started = time.perf_counter()
        if await _status(session, f"/v1/fetches/{fetch_id}") in TERMINAL:
            raise SystemExit("a fetch that was to wait has ended")
        seconds.append(time.perf_counter() - started)
    return seconds


def _waiting_requests(fetches: int) -> Iterator[FetchRequest]:
    """Half of them delayed, on a thousand hosts, half on a host that is paused."""
    for number in range(fetches // 2):
        yield FetchRequest(url=f"http://h{number % BACKLOG_HOSTS}.test/{number}", delay_seconds=3600)
        yield FetchRequest(url=f"http://{PAUSED_HOST}/{number}")


async def _measure_backlog(stack: Stack, fetches: int) -> Backlog:
    status = stack.status()
    headers = {"Authorization": f"Bearer {status.api_key}"}
    async with aiohttp.ClientSession(base_url=status.gateway, headers=headers) as session:
        change = {"state": "paused", "expires_in_seconds": 3600}
        async with session.patch(f"/v1/hosts/{PAUSED_HOST}", json=change) as answer:
            answer.raise_for_status()
        ids = await accept_in_bulk(stack, _waiting_requests(BACKLOG_WARM_UP))
        await wait_until_ingested(stack, seconds=FINISH_TIMEOUT_SECONDS)
        await _read_latencies(session, ids)  # code and connections that any load would load
        before, started = resident_mebibytes(stack.status()), time.perf_counter()
        ids = await accept_in_bulk(stack, _waiting_requests(fetches))
        await wait_until_ingested(stack, seconds=FINISH_TIMEOUT_SECONDS)
        accepted = time.perf_counter() - started
        latencies = await _read_latencies(session, ids)
    return Backlog(
        queued=fetches,
        accepted_seconds=round(accepted, 1),
        resident_mebibytes_before=before,
        resident_mebibytes_after=resident_mebibytes(stack.status()),
        read_p50_seconds=round(statistics.median(latencies), 4),
        read_p95_seconds=round(statistics.quantiles(latencies, n=20)[-1], 4),
    )


def backlog(fetches: int) -> Backlog:
    """Queue so many fetches that are not due, in a stack of its own, and see what that costs."""
    with tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as folder:
        stack = Stack(Path(folder) / "home")
        stack.start()
        try:
            return asyncio.run(_measure_backlog(stack, fetches))
        finally:
            stack.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetches", type=int, default=5000, help="fetches of the volume part")
    parser.add_argument("--backlog", type=int, default=None, help="measure a backlog of so many fetches that wait, instead")
    arguments = parser.parse_args()
    found = measure(arguments.fetches) if arguments.backlog is None else backlog(arguments.backlog)
    print(json.dumps(asdict(found), indent=2))
