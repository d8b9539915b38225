"""The other kind of system: the stack of the compose file. Its origin and its canaries are in the project's own containers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from canaries import Canaries, Place, serve_canaries
from compose_project import API_KEY, Compose
from origin import SIBLINGS, Origin
from system import ANSWER_TIMEOUT_SECONDS, MAPPED_LOOPBACK, System

ORIGIN_PORT = 8000
METRICS_PORTS = {"gateway": 9101, "fetcher": 9102, "store": 9103}
READ_DENIALS = """
import redis
told = redis.Redis.from_url(open('/run/secrets/fetchwork_events_url').read()).info('everything')
denied = sum(count for name, count in told.items() if name.startswith('acl_access_denied_'))
print(denied - told.get('cmdstat_config|get', {}).get('rejected_calls', 0))
"""
"""All denials but those of CONFIG GET, which the gateway tries and does without."""
READ = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:{port}/metrics', timeout=10).read().decode())"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSystem(System):
    """A compose project that runs."""

    compose: Compose
    gateway_url: str
    api_key: str

    @classmethod
    def of(cls, compose: Compose) -> "ContainerSystem":
        """The system of a running project."""
        return cls(compose=compose, gateway_url=compose.gateway_url, api_key=API_KEY)

    async def pids(self, server: str) -> frozenset[int]:
        """The first process of each of its containers."""
        return await asyncio.to_thread(self.compose.pids, server)

    async def kill(self, server: str) -> None:
        """SIGKILL; the engine brings them back."""
        await asyncio.to_thread(self.compose.kill, server)

    async def wait_until_ready(self) -> None:
        """Return once every health check passes."""
        await asyncio.to_thread(self.compose.wait_until_ready)

    async def metrics(self, service: str) -> list[str]:
        """From inside each container: their ports are published to nobody."""
        containers = await asyncio.to_thread(self.compose.containers, service)
        read = READ.format(port=METRICS_PORTS[service])
        return await asyncio.gather(*(asyncio.to_thread(self.compose.python_in, each, read) for each in containers))

    async def log(self, service: str) -> str:
        """What the engine kept."""
        return await asyncio.to_thread(self.compose.logs, service)

    async def denials(self) -> int:
        """As that Redis counts them, where each service has a user of its own."""
        return int(await asyncio.to_thread(self.compose.python, "gateway", READ_DENIALS))

    @asynccontextmanager
    async def origin(self) -> AsyncIterator[Origin]:
        """The project's own container, by the address that its fetchers may reach."""
        window_url = await asyncio.to_thread(self.compose.origin_window)
        async with httpx2.AsyncClient(base_url=window_url, timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False) as window:
            ports = range(ORIGIN_PORT, ORIGIN_PORT + 1 + SIBLINGS)
            url, *siblings = (f"http://{self.compose.origin_address}:{port}" for port in ports)
            yield Origin(url=url, window=window, siblings=siblings)

    @asynccontextmanager
    async def canaries(self) -> AsyncIterator[Canaries]:
        """Inside each fetcher's container: on its loopback, and on the private address by which its neighbours know it.

        These containers have no IPv6, so ::1 is tried over processes alone.
        """
        fetchers = await asyncio.to_thread(self.compose.inspect, "fetcher")
        pythons = [("docker", "exec", "--interactive", each["Id"], "python") for each in fetchers]
        places = [Place(python=python, addresses=("0.0.0.0",)) for python in pythons]
        private = [next(iter(each["NetworkSettings"]["Networks"].values()))["IPAddress"] for each in fetchers]
        async with serve_canaries(places, ["127.0.0.1", MAPPED_LOOPBACK, "localhost", *private]) as canaries:
            yield canaries
