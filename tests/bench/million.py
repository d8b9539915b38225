"""A million URLs in one batch, from the first byte of its POST to the last row: `make bench-million`.

The body is streamed, as a client with a large file would send them.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from contest.pages import Pages, running_origin
from contest.stack_run import NDJSON, client_of, cpu_seconds, finished_fetches, ledger_of, resident_megabytes, running_stack
from fetchwork_local.stack import Stack
from rich.console import Console
from rich.progress import Progress

URLS = 1_000_000
BATCH_LINES = 1_000_000
"""The lines that a gateway takes in one batch."""
LINES_TOGETHER = 1_000
TIMEOUT_SECONDS = 3600.0
LOOK_SECONDS = 0.25


async def _lines(pages: Pages, many: int) -> AsyncIterator[bytes]:
    for _ in range(0, many, LINES_TOGETHER):
        yield b"".join(f'{{"url": "{url}"}}\n'.encode() for url in pages.urls(LINES_TOGETHER))


async def _submit(session: aiohttp.ClientSession, pages: Pages, many: int) -> None:
    for first in range(0, many, BATCH_LINES):
        lines = min(BATCH_LINES, many - first)
        async with session.post("/v1/batches", data=_lines(pages, lines), headers=NDJSON) as answer:
            if answer.status != 202 or (await answer.json())["accepted"] != lines:
                raise SystemExit(f"not accepted: {answer.status} {(await answer.text())[:500]}")


async def _run(stack: Stack, pages: Pages, many: int, progress: Progress) -> None:
    status, task = stack.status(), progress.add_task("finished", total=many)
    async with client_of(status, seconds=TIMEOUT_SECONDS) as session, ledger_of(stack) as ledger:
        before, used, started = await finished_fetches(ledger), cpu_seconds(status), time.perf_counter()
        submitting = asyncio.create_task(_submit(session, pages, many))
        submitting.add_done_callback(lambda _: print(f"accepted after {time.perf_counter() - started:.1f} s"))
        largest: dict[str, float] = {}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (finished := await finished_fetches(ledger) - before) < many:
                if submitting.done():
                    await submitting
                progress.update(task, completed=finished)
                for name, size in resident_megabytes(status).items():
                    largest[name] = max(size, largest.get(name, 0.0))
                await asyncio.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - started
        spent = {name: 1e6 * (each - used[name]) / many for name, each in cpu_seconds(status).items()}
    print(f"{many:,} fetches in {seconds:.1f} s, {many / seconds:,.0f} a second")
    print("CPU for a fetch, in microseconds:", ", ".join(f"{name} {each:.0f}" for name, each in spent.items()))
    print("Largest resident memory, in MB:", ", ".join(f"{name} {size:.0f}" for name, size in largest.items()))


def main() -> None:
    """In a stack of its own."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else URLS
    with tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as folder, running_origin() as pages:
        with running_stack(Path(folder) / "home") as stack, Progress(console=Console(stderr=True)) as progress:
            asyncio.run(_run(stack, pages, many, progress))


if __name__ == "__main__":
    main()
