"""A real gateway process, started and stopped by a test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from fetchwork_local.ports import free_port
from gateway_words import KEY
from little_store import TOKEN, LittleStore

START_SECONDS = 20
STOP_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A running gateway and what it stands on."""

    url: str
    metrics_url: str
    store_url: str
    store: LittleStore
    log: Path
    process: asyncio.subprocess.Process


@asynccontextmanager
async def serving(
    *, events_url: str, store: LittleStore, store_url: str, log: Path, environment: Mapping[str, str]
) -> AsyncIterator[Gateway]:
    """A gateway that is ready, until the context closes. Its log goes to a file: a pipe that nobody reads would stop it."""
    port, metrics_port = free_port(), free_port()
    variables = {
        "PATH": os.environ["PATH"],
        "FETCHWORK_PORT": str(port),
        "FETCHWORK_METRICS_PORT": str(metrics_port),
        "FETCHWORK_API_KEY": KEY,
        "FETCHWORK_EVENTS_URL": events_url,
        "FETCHWORK_STORE_URL": store_url,
        "FETCHWORK_STORE_TOKEN": TOKEN,
        "FETCHWORK_INGESTING_LIMIT_FETCHES": "50",
        "FETCHWORK_BATCH_LIMIT_BYTES": str(4 * 1024 * 1024),
        "FETCHWORK_BATCH_JSON_LIMIT_BYTES": str(1024 * 1024),
        "FETCHWORK_BATCH_LIMIT_LINES": "2000",
        "FETCHWORK_BATCH_CHUNK_FETCHES": "20",
        "FETCHWORK_BATCH_PATIENCE_SECONDS": "0.5",
        "FETCHWORK_BATCH_IDLE_SECONDS": "1",
        "FETCHWORK_KEY_POLL_SECONDS": "0.5",
        **environment,
    }
    with log.open("ab") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", env=variables, stdout=written, stderr=asyncio.subprocess.STDOUT
        )
    gateway = Gateway(
        url=f"http://127.0.0.1:{port}",
        metrics_url=f"http://127.0.0.1:{metrics_port}",
        store_url=store_url,
        store=store,
        log=log,
        process=process,
    )
    await _wait_until_ready(gateway)
    yield gateway
    process.terminate()
    await asyncio.wait_for(process.wait(), STOP_SECONDS)
    assert process.returncode in (0, -15)


async def _wait_until_ready(gateway: Gateway) -> None:
    async with asyncio.timeout(START_SECONDS), httpx2.AsyncClient(base_url=gateway.url) as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
