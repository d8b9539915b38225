"""A gateway of a test's own, as a process that can be stopped and started again on the same port."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from fetchwork_local.ports import free_port
from gateway_words import KEY
from little_store import TOKEN
from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 20


@dataclass(kw_only=True)
class GatewayProcess:
    """One gateway with its settings; `log` is what it wrote, of all its lives."""

    environment: Mapping[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Of the public API."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start, and return when it is ready."""
        environment = {
            **self.environment,
            "PATH": os.environ["PATH"],
            "FETCHWORK_PORT": str(self.port),
            "FETCHWORK_METRICS_PORT": str(self.metrics_port),
            "FETCHWORK_API_KEY": KEY,
            "FETCHWORK_STORE_TOKEN": TOKEN,
        }
        with self.log.open("ab") as written:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", env=environment, stdout=written, stderr=asyncio.subprocess.STDOUT
            )
        async with asyncio.timeout(START_SECONDS), httpx2.AsyncClient(base_url=self.url) as client:
            while True:
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Terminate it and wait until it is gone."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 20)
        assert self.process.returncode == 0

    async def metrics(self) -> dict[tuple[str, str], float]:
        """Samples by name and by the value of their one label."""
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.metrics_port}") as operator:
            text = (await operator.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(sample.name, "".join(sample.labels.values())): sample.value for sample in samples}

    def client(self, *, headers: Iterable[tuple[str, str]] = ()) -> httpx2.AsyncClient:
        """A client with the key."""
        return httpx2.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {KEY}", **dict(headers)}, timeout=10)


@asynccontextmanager
async def serving(
    folder: Path, *, events_url: str, measured: Mapping[str, str], store_url: str = "http://127.0.0.1:9", **settings: object
) -> AsyncIterator[GatewayProcess]:
    """A gateway that is ready, over a store that need not be there. Settings are named as in `settings.py`."""
    environment = {f"FETCHWORK_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {**measured, "FETCHWORK_EVENTS_URL": events_url, "FETCHWORK_STORE_URL": store_url}
    gateway = GatewayProcess(environment=environment, log=folder / "gateway.log")
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
