"""The gateway of most tests: a process over a played store, with limits that a test can reach."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway_lives import GatewayProcess
from little_store import LittleStore

LIMITS = {
    "FETCHWORK_INGESTING_LIMIT_FETCHES": "50",
    "FETCHWORK_BATCH_LIMIT_BYTES": str(4 * 1024 * 1024),
    "FETCHWORK_BATCH_JSON_LIMIT_BYTES": str(1024 * 1024),
    "FETCHWORK_BATCH_LIMIT_LINES": "2000",
    "FETCHWORK_BATCH_CHUNK_FETCHES": "20",
    "FETCHWORK_BATCH_PATIENCE_SECONDS": "0.5",
    "FETCHWORK_BATCH_IDLE_SECONDS": "1",
    "FETCHWORK_KEY_POLL_SECONDS": "0.5",
    "FETCHWORK_OVERVIEW_MAX_AGE_SECONDS": "0",  # tests of what a page shows do not wait for it
}


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
    """A gateway that is ready, until the context closes."""
    variables = LIMITS | {"FETCHWORK_EVENTS_URL": events_url, "FETCHWORK_STORE_URL": store_url, **environment}
    running = GatewayProcess(environment=variables, log=log)
    await running.start()
    assert running.process is not None
    yield Gateway(
        url=running.url,
        metrics_url=f"http://127.0.0.1:{running.metrics_port}",
        store_url=store_url,
        store=store,
        log=log,
        process=running.process,
    )
    await running.stop()
