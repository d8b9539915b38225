"""Canaries where fetches would arrive if the guard were broken: on the loopback that fetchers see, and on their own addresses.

So that even then nothing leaves this machine or the project's own containers.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("canary.py").read_text(encoding="utf-8")
VISIT = "import sys, urllib.request as r; print(r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5).read().decode())"
ANSWER_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a fetcher runs: the command that starts Python there, with its input open, and the addresses to listen on."""

    python: tuple[str, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """One canary in each place, all on one port. `hosts` lead from each place to a canary; the first to the place's own."""

    places: tuple[Place, ...]
    port: int
    hosts: tuple[str, ...]

    @property
    def urls(self) -> list[str]:
        """A URL for each host."""
        return [f"http://{host}:{self.port}/" for host in self.hosts]

    async def visit(self, url: str) -> list[int]:
        """Go there from each place; the numbers of these visits, as their canaries count."""
        outputs = await asyncio.gather(*(_output_of(*place.python, "-ISc", VISIT, url) for place in self.places))
        return [int(output) for output in outputs]

    async def visit_each(self) -> list[int]:
        """Go to each place's own canary."""
        return await self.visit(self.urls[0])


@asynccontextmanager
async def serve_canaries(places: Sequence[Place], hosts: Sequence[str]) -> AsyncIterator[Canaries]:
    """Canaries on a port that is free in the first place."""
    async with AsyncExitStack() as stack:
        port = 0
        for place in places:
            port = await stack.enter_async_context(_listen(place, port))
        yield Canaries(places=tuple(places), port=port, hosts=tuple(hosts))


@asynccontextmanager
async def _listen(place: Place, port: int) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        *place.python,
        *("-ISc", SOURCE, str(port), *place.addresses),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await process.stdout.readline()
        assert line, f"no canary could listen on {place.addresses}"
        yield int(line)
    finally:
        process.stdin.close()
        async with asyncio.timeout(ANSWER_SECONDS):
            await process.wait()


async def _output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(ANSWER_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, f"{command[-1]} cannot be reached"
    return output.decode()
