"""Fetchwork as a contestant: a stack as `fetchwork up` runs it, a batch from its POST to its last row, and what that cost."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import psutil
from fetchwork_local.postgres import database_url
from fetchwork_local.stack import Stack, StackStatus
from fetchwork_local.state import recall

HOST_MAX_IN_FLIGHT = "24"
"""The only setting that is not the default: the twenty hosts of the origin may be asked as fast as the fetchers can."""
FINISH_TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.02
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Fetches that finished, the seconds from the first byte of their POST to their last row, and CPU seconds by process."""

    fetches: int
    seconds: float
    cpu_seconds: Mapping[str, float]

    @property
    def per_second(self) -> float:
        """Fetches a second."""
        return self.fetches / self.seconds


@contextmanager
def running_stack(home: Path, **environment: str) -> Iterator[Stack]:
    """A stack of its own, stopped in the end."""
    stack = Stack(home, environment={"FETCHWORK_HOST_MAX_IN_FLIGHT": HOST_MAX_IN_FLIGHT, **environment})
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def run_batch(stack: Stack, urls: Sequence[str], *, fetchers: Sequence[int] = ()) -> Run:
    """Submit them as one batch and wait until Postgres has the last result. Raises SystemExit when one did not succeed.

    `fetchers` are processes beside the stack's own: their CPU counts as the fetcher's.
    """
    return asyncio.run(_run_batch(stack, urls, fetchers))


async def _run_batch(stack: Stack, urls: Sequence[str], fetchers: Sequence[int]) -> Run:
    status = stack.status()
    async with client_of(status) as session, ledger_of(stack) as ledger:
        before, used, started = await finished_fetches(ledger), cpu_seconds(status, fetchers), time.perf_counter()
        await submit_batch(session, urls)
        async with asyncio.timeout(FINISH_TIMEOUT_SECONDS):
            while (finished := await finished_fetches(ledger) - before) < len(urls):
                await asyncio.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - started
        spent = {name: each - used[name] for name, each in cpu_seconds(status, fetchers).items()}
    return Run(fetches=finished, seconds=seconds, cpu_seconds=spent)


def client_of(status: StackStatus, *, seconds: float = FINISH_TIMEOUT_SECONDS) -> aiohttp.ClientSession:
    """A client of the gateway, for requests that take so long at most."""
    headers, timeout = {"Authorization": f"Bearer {status.api_key}"}, aiohttp.ClientTimeout(total=seconds)
    return aiohttp.ClientSession(base_url=status.gateway, headers=headers, timeout=timeout)


@asynccontextmanager
async def ledger_of(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the stack's Postgres, as its owner."""
    state = recall(stack.home)
    assert state is not None
    connection = await asyncpg.connect(database_url(port=state.ports.postgres, password=state.secrets.postgres_password))
    try:
        yield connection
    finally:
        await connection.close()


async def submit_batch(session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
    """One POST; all of its lines are accepted, or SystemExit."""
    body = "\n".join(f'{{"url": "{url}"}}' for url in urls).encode()
    async with session.post("/v1/batches", data=body, headers=NDJSON) as answer:
        if answer.status != 202 or (await answer.json())["accepted"] != len(urls):
            raise SystemExit(f"not accepted: {answer.status} {(await answer.text())[:500]}")


async def finished_fetches(ledger: asyncpg.Connection) -> int:
    """Fetches that ever succeeded, by the counters that are written with their results."""
    return int(await ledger.fetchval("SELECT coalesce(sum(fetches), 0)::bigint FROM fetch_counts WHERE name = 'succeeded'"))


def cpu_seconds(status: StackStatus, fetchers: Sequence[int] = ()) -> dict[str, float]:
    """CPU that each process has used so far, with its children, ended ones too; the fetcher's with that of the others."""
    used = {name: sum(map(_cpu_seconds, _family(pid))) for name, pid in status.processes.items() if pid is not None}
    used["fetcher"] += sum(_cpu_seconds(psutil.Process(pid)) for pid in fetchers)
    return used


def resident_megabytes(status: StackStatus) -> dict[str, float]:
    """Resident memory of each process with its children; pages that they share are counted for each."""
    sizes = {}
    for name, pid in status.processes.items():
        if pid is not None:
            sizes[name] = round(sum(map(_resident_bytes, _family(pid))) / 1e6, 1)
    return sizes


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    """With what its ended children used: of one that ends right now, as Postgres's helpers do, the next look at it tells."""
    with suppress(psutil.NoSuchProcess), process.oneshot():
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
