"""What a test needs of a running system besides its public API, whatever it runs on, and the first kind: processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import httpx2
from canaries import Canaries, Place, serve_canaries
from fetchwork_local.stack import Stack, StackStatus
from origin import SIBLINGS, Origin
from website import serve_website

ORIGIN_ADDRESS = "127.9.0.1"
"""A loopback address of its own, so that allowing it opens no door to anything else on this machine."""
SERVERS = ("gateway", "fetcher", "store", "postgres", "events", "broker")
READY_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.1
ANSWER_TIMEOUT_SECONDS = 15
MAPPED_LOOPBACK = "[::ffff:127.0.0.1]"


class System(Protocol):
    """The whole of Fetchwork, running. `SERVERS` are the names that `kill` and `pids` know."""

    gateway_url: str
    api_key: str

    async def pids(self, server: str) -> frozenset[int]:
        """The process, or the first process of each container, of a server."""

    async def kill(self, server: str) -> None:
        """SIGKILL those. Whoever looks after them brings them back."""

    async def wait_until_ready(self) -> None:
        """Return once everything runs and serves."""

    async def metrics(self, service: str) -> list[str]:
        """What each process of a service exports, as Prometheus would read it."""

    async def log(self, service: str) -> str:
        """What a service has logged."""

    async def denials(self) -> int:
        """How often the events Redis has denied a service what that needs."""

    def origin(self) -> AbstractAsyncContextManager[Origin]:
        """An origin that the fetchers of this system may fetch from."""

    def canaries(self) -> AbstractAsyncContextManager[Canaries]:
        """Listeners within reach of its fetchers that they must never connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSystem(System):
    """The embedded stack, as `fetchwork up` starts it."""

    stack: Stack
    gateway_url: str
    api_key: str

    @classmethod
    def of(cls, stack: Stack) -> "ProcessSystem":
        """The system of a stack that runs."""
        status = stack.status()
        assert status.gateway is not None and status.api_key is not None
        return cls(stack=stack, gateway_url=status.gateway, api_key=status.api_key)

    async def pids(self, server: str) -> frozenset[int]:
        """The one process, or none while it is away."""
        pid = (await self._status()).processes[server]
        return frozenset({pid} if pid else ())

    async def kill(self, server: str) -> None:
        """SIGKILL; supervisord brings it back."""
        [pid] = await self.pids(server)
        os.kill(pid, signal.SIGKILL)

    async def wait_until_ready(self) -> None:
        """Return once `fetchwork status` would say so."""
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            while not (await self._status()).ready:
                await asyncio.sleep(POLL_SECONDS)

    async def metrics(self, service: str) -> list[str]:
        """From the service's own port."""
        async with httpx2.AsyncClient(timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.get((await self._status()).metrics[service])
        return [answer.raise_for_status().text]

    async def log(self, service: str) -> str:
        """From its file."""
        return (self.stack.home.logs / f"{service}.log").read_text(encoding="utf-8")

    async def denials(self) -> int:
        """None ever: all services share one user, who may do everything."""
        return 0

    @asynccontextmanager
    async def origin(self) -> AsyncIterator[Origin]:
        """In this process, on an address of its own."""
        async with serve_website(ORIGIN_ADDRESS, [0] * (1 + SIBLINGS)) as ports:
            url, *siblings = (f"http://{ORIGIN_ADDRESS}:{port}" for port in ports)
            async with httpx2.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False) as window:
                yield Origin(url=url, window=window, siblings=siblings)

    @asynccontextmanager
    async def canaries(self) -> AsyncIterator[Canaries]:
        """On this machine's loopback, over IPv4 and IPv6."""
        place = Place(python=(sys.executable,), addresses=("127.0.0.1", "::1"))
        async with serve_canaries([place], ["127.0.0.1", "[::1]", MAPPED_LOOPBACK, "localhost"]) as canaries:
            yield canaries

    async def _status(self) -> StackStatus:
        return await asyncio.to_thread(self.stack.status)
