"""What each service says of itself while one of those that it stands on is away, and that it recovers by itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
from fetchwork_local.stack import Stack
from system import ProcessSystem

SECONDS = 60
POLL_SECONDS = 0.05
REFUSED = "ConnectionRefusedError: cannot connect"
SAYS: dict[str, dict[str, tuple[int, set[str]]]] = {
    "postgres": {
        "store": (503, {f"[-]postgres failed: {REFUSED}", f"[-]schema failed: {REFUSED}"}),
        "gateway": (200, {"[!]store degraded: does not serve"}),
        "fetcher": (200, set()),
    },
    "events": {
        "gateway": (503, {f"[-]events failed: {REFUSED}"}),
        "store": (200, {f"[!]events degraded: {REFUSED}"}),
        "fetcher": (503, {f"[-]events failed: {REFUSED}"}),
    },
    "broker": {
        "gateway": (200, set()),
        "store": (200, {f"[!]broker degraded: {REFUSED}"}),
        "fetcher": (503, {f"[-]broker failed: {REFUSED}"}),
    },
    "store": {
        "gateway": (200, {f"[!]store degraded: {REFUSED}"}),
        "fetcher": (200, {f"[!]store degraded: {REFUSED}"}),
    },
    "fetcher": {
        "gateway": (200, set()),
        "store": (200, {"[!]fetchers degraded: none announces itself"}),
    },
}
"""Who is away → who says what: the status of /readyz, and all lines of its report that are not `ok`."""


@asynccontextmanager
async def _away(stack: Stack, server: str) -> AsyncIterator[None]:
    """Keep a server away: whatever supervisord starts in its place is killed as well."""
    stopping = asyncio.Event()

    async def keep_away() -> None:
        while not stopping.is_set():
            status = await asyncio.to_thread(stack.status)
            pid = status.processes.get(server)
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(POLL_SECONDS)

    keeping = asyncio.create_task(keep_away())
    try:
        yield
    finally:
        stopping.set()
        await keeping


async def _says(client: httpx2.AsyncClient, url: str) -> tuple[int, set[str]]:
    try:
        answer = await client.get(url)
    except httpx2.TransportError:
        return 0, set()
    lines = answer.text.splitlines()[:-1]
    return answer.status_code, {line for line in lines if not line.endswith(" ok")}


async def _wait_until(client: httpx2.AsyncClient, urls: dict[str, str], expected: dict[str, tuple[int, set[str]]]) -> None:
    """Return once each service has said exactly this, each at a time of its own."""
    seen: dict[str, tuple[int, set[str]]] = {}
    waiting = dict(expected)
    try:
        async with asyncio.timeout(SECONDS):
            while waiting:
                for service in list(waiting):
                    seen[service] = await _says(client, urls[service])
                    if seen[service] == waiting[service]:
                        del waiting[service]
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"expected {waiting}, last seen {seen}") from None


@pytest.mark.parametrize("away", SAYS)
async def test_who_is_away_shows_where_it_is_missed_and_nowhere_else(stack: Stack, away: str) -> None:
    system = ProcessSystem.of(stack)
    await system.wait_until_ready()
    urls = {name: url.replace("/metrics", "/readyz?verbose") for name, url in stack.status().metrics.items()}
    well = {service: (200, set[str]()) for service in urls}
    async with httpx2.AsyncClient(timeout=10, trust_env=False) as client:
        await _wait_until(client, urls, well)
        async with _away(stack, away):
            await _wait_until(client, urls, SAYS[away])
        await _wait_until(client, urls, well)
        public = await client.get(f"{system.gateway_url}/readyz?verbose")
        assert public.status_code == 200 and "[+]keys ok" in public.text
        for service in urls:
            assert (await client.get(urls[service].replace("/readyz?verbose", "/startupz"))).status_code == 200
