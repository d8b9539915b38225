"""Use a running system as a client would, and look at it as an operator would: over HTTP and metrics only."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from system import System

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
POLL_SECONDS = 0.05
CONCURRENCY = 32
CONNECTIONS = 64
CALL_TIMEOUT_SECONDS = 15
SUBMIT_TRIES = 100

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A client with a key, and the system that it talks to."""

    client: httpx2.AsyncClient
    system: System

    async def submit(self, url: str, **request: Any) -> str:
        """Submit one fetch until it is accepted, as a client that honours 503 would; returns its path."""
        for _ in range(SUBMIT_TRIES):
            try:
                answer = await self.client.post("/v1/fetches", json={"url": url, **request})
            except httpx2.TransportError:
                answer = None
            if answer is not None and answer.status_code == 202:
                return answer.headers["location"]
            assert answer is None or answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)
        raise AssertionError(f"not accepted in {SUBMIT_TRIES} tries")

    async def submit_all(self, urls: Iterable[str], **request: Any) -> list[str]:
        """Submit many, some at a time; returns their paths in order."""
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(url: str) -> str:
            async with gate:
                return await self.submit(url, **request)

        return await asyncio.gather(*(one(url) for url in urls))

    async def finish(self, path: str, *, seconds: float = 30) -> Document:
        """The fetch, once it is terminal. A store that is away for a while is waited for."""
        document: Document = {}
        try:
            async with asyncio.timeout(seconds):
                while document.get("status") not in TERMINAL:
                    await asyncio.sleep(POLL_SECONDS if document else 0)
                    answer = await self._get(path)
                    document = answer.json() if answer is not None else {"status": "unknown"}
        except TimeoutError:
            raise AssertionError(f"not finished in {seconds} s: {document}") from None
        return document

    async def finish_all(self, paths: Iterable[str], *, seconds: float = 60) -> list[Document]:
        """All of them, once they are terminal."""
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(path: str) -> Document:
            async with gate:
                return await self.finish(path, seconds=seconds)

        return await asyncio.gather(*(one(path) for path in paths))

    async def fetch(self, url: str, *, seconds: float = 30, **request: Any) -> Document:
        """Submit and wait."""
        return await self.finish(await self.submit(url, **request), seconds=seconds)

    async def content(self, document: Document) -> bytes:
        """The stored bytes of a finished fetch."""
        answer = await self.client.get(document["links"]["content"])
        assert answer.status_code == 200, answer.text
        return answer.content

    async def metric(self, service: str, name: str, /, **labels: str) -> float:
        """The sum over all processes of the samples of that name that carry these labels; 0 when there is none yet."""
        families = [family for text in await self.system.metrics(service) for family in text_string_to_metric_families(text)]
        samples = [sample for family in families for sample in family.samples]
        wanted = [sample for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]
        return sum(sample.value for sample in wanted)

    async def _get(self, path: str) -> httpx2.Response | None:
        try:
            answer = await self.client.get(path)
        except httpx2.TransportError:
            return None
        assert answer.status_code in (200, 503), f"P6 is broken: {answer.status_code} {answer.text}"
        return answer if answer.status_code == 200 else None


@asynccontextmanager
async def open_driver(system: System) -> AsyncIterator[Driver]:
    """A client of a system, with its key."""
    headers = {"Authorization": f"Bearer {system.api_key}"}
    limits = httpx2.Limits(max_connections=CONNECTIONS)
    async with httpx2.AsyncClient(
        base_url=system.gateway_url, headers=headers, timeout=CALL_TIMEOUT_SECONDS, limits=limits, trust_env=False
    ) as client:
        yield Driver(client=client, system=system)
