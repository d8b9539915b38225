"""How much one machine carries: fetches a second by size of page, bytes on disk for each fetch, memory of each process.

`make capacity` measures a stack of its own, with the origin and the load on the same machine, and writes the table between
the marks of docs/operations/capacity.md. Absolute figures belong to the machine that the table names.
"""

import argparse
import asyncio
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from bulk import wait_until_ingested
from contest.stack_run import finished_fetches, ledger_of, resident_mebibytes
from fetchwork_local.stack import Stack
from rich.console import Console
from rich.progress import Progress

PAGE_BYTES = (1_000, 10_000, 100_000)
ROUNDS = 3
FINISH_TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.05
TOMORROW_SECONDS = 86_400
NDJSON = {"Content-Type": "application/x-ndjson"}
PAGE = Path(__file__).parents[2] / "docs/operations/capacity.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Fetches of pages of one size: a second from the POST of their batch to the last row, the median of the rounds."""

    page_bytes: int
    per_second: float
    database_bytes_each: float


async def _batch(session: aiohttp.ClientSession, lines: Sequence[str]) -> None:
    async with session.post("/v1/batches", data="\n".join(lines).encode(), headers=NDJSON) as answer:
        if answer.status != 202 or (await answer.json())["accepted"] != len(lines):
            raise SystemExit(f"not accepted: {answer.status} {(await answer.text())[:500]}")


async def _run(session: aiohttp.ClientSession, stack: Stack, lines: Sequence[str]) -> float:
    """Fetches a second."""
    async with ledger_of(stack) as ledger:
        before, started = await finished_fetches(ledger), time.perf_counter()
        await _batch(session, lines)
        async with asyncio.timeout(FINISH_TIMEOUT_SECONDS):
            while await finished_fetches(ledger) - before < len(lines):
                await asyncio.sleep(POLL_SECONDS)
    return len(lines) / (time.perf_counter() - started)


async def _database_bytes(stack: Stack) -> int:
    async with ledger_of(stack) as ledger:
        return int(await ledger.fetchval("SELECT pg_database_size(current_database())"))


async def _measure(stack: Stack, fetches: int, progress: Progress) -> tuple[list[Pace], float, dict[str, float]]:
    """The paces, bytes in Postgres for each fetch that waits, and mebibytes of each process while they do."""
    status = stack.status()
    demo = (status.demo or "").rstrip("/")
    async with aiohttp.ClientSession(base_url=status.gateway, headers={"Authorization": f"Bearer {status.api_key}"}) as session:
        await _run(session, stack, [f"{demo}/bytes/1000?warm={number}" for number in range(fetches // 10)])
        paces = []
        for size in PAGE_BYTES:
            before, rates = await _database_bytes(stack), []
            for turn in progress.track(range(ROUNDS), description=f"pages of {size} bytes"):
                rates.append(await _run(session, stack, [f"{demo}/bytes/{size}?{turn}-{number}" for number in range(fetches)]))
            grown = await _database_bytes(stack) - before
            paces.append(Pace(page_bytes=size, per_second=statistics.median(rates), database_bytes_each=grown / fetches / ROUNDS))
        before, waiting = await _database_bytes(stack), fetches * 2
        line = '{{"url": "http://h{}.test/{}", "delay_seconds": ' + str(TOMORROW_SECONDS) + "}}"
        await _batch(session, [line.format(number % 1000, number) for number in range(waiting)])
        await wait_until_ingested(stack, seconds=FINISH_TIMEOUT_SECONDS)
        waiting_bytes = (await _database_bytes(stack) - before) / waiting
    return paces, waiting_bytes, resident_mebibytes(stack.status())


def _table(paces: Sequence[Pace], waiting_bytes: float, resident: dict[str, float], *, fetches: int) -> str:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((fact.partition(":")[2].strip() for fact in facts if fact.startswith("model name")), platform.machine())
    rows = [f"| {pace.page_bytes:,} | {pace.per_second:,.0f} | {pace.database_bytes_each:,.0f} |" for pace in paces]
    memory = [f"| {name} | {size:.0f} |" for name, size in resident.items()]
    return "\n".join(
        [
            f"Measured on {psutil.cpu_count()} cores ({cpu}), {psutil.virtual_memory().total >> 30} GiB, "
            f"Python {platform.python_version()}: one process of each service, both Redis, Postgres, the origin and the load "
            f"together; {ROUNDS} batches of {fetches:,} fetches each, medians.",
            "",
            "| page, bytes | fetches a second, POST to last row | bytes in Postgres for each, its body counted once |",
            "| --: | --: | --: |",
            *rows,
            "",
            f"A fetch that waits takes {waiting_bytes:,.0f} bytes in Postgres and nothing in Redis.",
            "",
            "| process | MiB resident afterwards (Postgres: shared pages once for each of its processes) |",
            "| --- | --: |",
            *memory,
        ]
    )


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetches", type=int, default=5000, help="fetches of each batch")
    fetches = parser.parse_args().fetches
    with tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as folder:
        stack = Stack(Path(folder) / "home", environment={"FETCHWORK_HOST_MAX_IN_FLIGHT": "256"})  # one origin for all
        stack.start()
        try:
            with Progress(console=Console(stderr=True)) as progress:
                found = asyncio.run(_measure(stack, fetches, progress))
        finally:
            stack.stop()
    table = _table(*found, fetches=fetches)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")
    print(table)


if __name__ == "__main__":
    main()
