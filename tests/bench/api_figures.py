"""What the gateway takes in: single submissions, batches of a thousand lines, one batch of a hundred thousand and what it costs.

`make bench-api` prints them. Everything is submitted for tomorrow, so that nothing is fetched while we measure. There is one
gateway process, and the load comes from a process of its own on the same machine. Absolute figures belong to the machine.
"""

import argparse
import asyncio
import json
import platform
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import psutil
from bulk import wait_until_ingested
from fetchwork_local.stack import Stack, StackStatus

CONNECTIONS = 32
BATCH_CONNECTIONS = 4
LINES = 1000
BAD_EVERY = 100
TOMORROW_SECONDS = 86_400
SAMPLE_SECONDS = 0.02
DRAIN_SECONDS = 300.0
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Requests and lines a second, seconds, and mebibytes of resident memory."""

    machine: str
    single_accepted_per_second: float
    single_with_idempotency_key_per_second: float
    batches_of_1000_per_second: float
    batched_lines_per_second: float
    large_batch_lines: int
    large_batch_seconds: float
    large_batch_named_errors: int
    large_batch_gateway_growth_mebibytes: float


def _line(number: int) -> bytes:
    request = {"url": f"http://h{number % 1000}.test/{number}", "delay_seconds": TOMORROW_SECONDS}
    return json.dumps(request).encode() + b"\n"


async def _singles(session: aiohttp.ClientSession, count: int, *, has_key: bool) -> float:
    """Accepted requests a second over as many connections as a busy client has."""
    gate = asyncio.Semaphore(CONNECTIONS)

    async def submit(number: int) -> None:
        headers = {"Idempotency-Key": str(uuid4())} if has_key else {}
        async with gate, session.post("/v1/fetches", data=_line(number), headers=headers) as answer:
            if answer.status != 202:
                raise SystemExit(f"not accepted: {answer.status} {await answer.text()}")

    started = time.perf_counter()
    await asyncio.gather(*(submit(number) for number in range(count)))
    return count / (time.perf_counter() - started)


async def _batches(session: aiohttp.ClientSession, count: int) -> float:
    """Batches of a thousand lines a second."""
    gate = asyncio.Semaphore(BATCH_CONNECTIONS)
    body = b"".join(_line(number) for number in range(LINES))

    async def submit() -> None:
        async with gate, session.post("/v1/batches", data=body, headers=NDJSON) as answer:
            if answer.status != 202 or (await answer.json())["accepted"] != LINES:
                raise SystemExit(f"not accepted: {answer.status} {(await answer.text())[:500]}")

    started = time.perf_counter()
    await asyncio.gather(*(submit() for _ in range(count)))
    return count / (time.perf_counter() - started)


async def _large(session: aiohttp.ClientSession, status: StackStatus, lines: int) -> tuple[float, int, float]:
    """One request of so many lines: seconds, refused lines that were named, and how much the gateway grew meanwhile."""
    pid = status.processes["gateway"]
    assert pid is not None
    gateway = psutil.Process(pid)
    before, peak = gateway.memory_info().rss, 0

    async def body() -> AsyncIterator[bytes]:
        for first in range(0, lines, LINES):
            numbers = range(first, min(first + LINES, lines))
            yield b"".join(b"bad\n" if number % BAD_EVERY == 0 else _line(number) for number in numbers)

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, gateway.memory_info().rss)
            await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    started = time.perf_counter()
    try:
        async with session.post("/v1/batches", data=body(), headers=NDJSON) as answer:
            receipt = await answer.json()
    finally:
        watching.cancel()
    seconds = time.perf_counter() - started
    bad = len(range(0, lines, BAD_EVERY))
    if answer.status != 202 or (receipt["accepted"], receipt["rejected"]) != (lines - bad, bad):
        raise SystemExit(f"not accepted: {answer.status} {str(receipt)[:500]}")
    return seconds, len(receipt["errors"]), (max(peak, gateway.memory_info().rss) - before) / 2**20


async def _measure(stack: Stack, singles: int, batches: int, lines: int) -> Figures:
    status = stack.status()
    headers = {"Authorization": f"Bearer {status.api_key}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=DRAIN_SECONDS)
    async with aiohttp.ClientSession(base_url=status.gateway, headers=headers, timeout=timeout) as session:
        await _singles(session, singles // 10, has_key=False)  # code and connections that any load would load
        single = await _singles(session, singles, has_key=False)
        with_key = await _singles(session, singles, has_key=True)
        await wait_until_ingested(stack, seconds=DRAIN_SECONDS)
        batch = await _batches(session, batches)
        await wait_until_ingested(stack, seconds=DRAIN_SECONDS)
        seconds, named, growth = await _large(session, status, lines)
        await wait_until_ingested(stack, seconds=DRAIN_SECONDS)
    return Figures(
        machine=f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {platform.python_version()}",
        single_accepted_per_second=round(single, 1),
        single_with_idempotency_key_per_second=round(with_key, 1),
        batches_of_1000_per_second=round(batch, 2),
        batched_lines_per_second=round(batch * LINES, 1),
        large_batch_lines=lines,
        large_batch_seconds=round(seconds, 2),
        large_batch_named_errors=named,
        large_batch_gateway_growth_mebibytes=round(growth, 1),
    )


def measure(singles: int, batches: int, lines: int) -> Figures:
    """Start a stack of its own, measure, and stop it."""
    with tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as folder:
        stack = Stack(Path(folder) / "home")
        stack.start()
        try:
            return asyncio.run(_measure(stack, singles, batches, lines))
        finally:
            stack.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--singles", type=int, default=5000, help="single submissions, with and without a key each")
    parser.add_argument("--batches", type=int, default=50, help="batches of a thousand lines")
    parser.add_argument("--lines", type=int, default=100_000, help="lines of the large batch")
    arguments = parser.parse_args()
    print(json.dumps(asdict(measure(arguments.singles, arguments.batches, arguments.lines)), indent=2))
