"""SIGTERM for one of two replicas of each service while 1,000 fetches are in flight: none is lost, and no client sees it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import pytest
from balancer import Backend, Balancer, balance
from driver import CONCURRENCY, TERMINAL, Document
from fetchwork_local.stack import Stack
from more_processes import MoreProcesses
from prometheus_client.parser import text_string_to_metric_families
from system import ProcessSystem
from website import serve_website

ADDRESS = "127.9.0.3"
ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{ADDRESS}/32",
    "FETCHWORK_HOST_MAX_IN_FLIGHT": "256",
    "FETCHWORK_API_KEY": "",
}
VOLUME = 1000
HOSTS = 8
"""Ports of one website. Each is a host, so that no pace keeps them all from being under way at once."""
SLOW_SECONDS = 8
SUBMITTED = VOLUME * 9 // 10
"""When the replica is told to stop: most are in flight by then, and the others are still to come."""
DRAIN = {"FETCHWORK_DRAIN_SECONDS": "5"}
READERS = 8
FINISH_SECONDS = 120
POLL_SECONDS = 0.05


@dataclass
class Client:
    """A client that keeps its connections and never tries twice: every answer that is none, or an error, is noted."""

    http: httpx2.AsyncClient
    paths: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    reads: int = 0

    async def submit_all(self, urls: list[str]) -> None:
        """Submit all, some at a time."""
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(url: str) -> None:
            async with gate:
                answer = await self._ask("POST", "/v1/fetches", json={"url": url})
                if answer is not None:
                    self.paths.append(answer.headers["location"])

        await asyncio.gather(*(one(url) for url in urls))

    async def read_on(self, number: int, stopping: asyncio.Event) -> None:
        """Read one fetch after another until told to stop."""
        while not stopping.is_set():
            if self.paths:
                number = (number + 7) % len(self.paths)
                await self._ask("GET", self.paths[number])
                self.reads += 1
            await asyncio.sleep(0.01)

    async def finish_all(self) -> list[Document]:
        """All fetches, once they are terminal."""
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(path: str) -> Document:
            while True:
                async with gate:
                    answer = await self._ask("GET", path)
                if answer is not None and answer.json()["status"] in TERMINAL:
                    return dict(answer.json())
                await asyncio.sleep(POLL_SECONDS)

        async with asyncio.timeout(FINISH_SECONDS):
            return await asyncio.gather(*(one(path) for path in self.paths))

    async def _ask(self, method: str, path: str, **body: object) -> httpx2.Response | None:
        try:
            answer = await self.http.request(method, path, **body)
        except httpx2.TransportError as error:
            self.errors.append(f"{method} {type(error).__name__}: {error}")
            return None
        if answer.is_success:
            return answer
        self.errors.append(f"{method} {answer.status_code}: {answer.text[:200]}")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Two gateways before two stores, and two fetchers beside those of the stack; clients see `gateways` only."""

    stack: Stack
    more: MoreProcesses
    gateways: Balancer

    async def redeliveries(self) -> float:
        """Of all stores that run."""
        urls = [self.stack.status().metrics["store"]]
        urls += [
            f"{one.operations_url}/metrics"
            for one in self.more.replicas.values()
            if one.service == "store" and one.process.poll() is None
        ]
        async with httpx2.AsyncClient(timeout=15, trust_env=False) as client:
            texts = [(await client.get(url)).raise_for_status().text for url in urls]
        samples = [
            sample for text in texts for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        return sum(sample.value for sample in samples if sample.name == "fetchwork_dispatch_redeliveries_total")


@pytest.fixture(scope="module")
def drained_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, MoreProcesses]]:
    """Its own stack, since its replicas are told to stop."""
    folder = tmp_path_factory.mktemp("drain")
    stack = Stack(folder / "home", environment=ENVIRONMENT)
    stack.start()
    more = MoreProcesses(stack, environment=ENVIRONMENT, folder=folder)
    try:
        yield stack, more
    finally:
        more.stop()
        stack.stop()


@pytest.fixture
async def fleet(drained_stack: tuple[Stack, MoreProcesses]) -> AsyncIterator[Fleet]:
    """All that runs, each replica anew if a test has ended it."""
    stack, more = drained_stack
    _start(more, "store", changes=DRAIN)
    _start(more, "fetcher")
    more.wait_until_ready()
    async with balance(_backends(more, "store")) as stores:
        for name in ("gateway-1", "gateway-2"):
            more.start("gateway", name, changes={**DRAIN, "FETCHWORK_STORE_URL": stores.url})
        more.wait_until_ready()
        async with balance(_backends(more, "gateway")) as gateways:
            yield Fleet(stack=stack, more=more, gateways=gateways)
        for name in ("gateway-1", "gateway-2"):
            more.kill(name)
            del more.replicas[name]


def _start(more: MoreProcesses, service: str, *, changes: Mapping[str, str] | None = None) -> None:
    for name in (f"{service}-1", f"{service}-2"):
        if name not in more.replicas or more.replicas[name].process.poll() is not None:
            more.start(service, name, changes=changes)


def _backends(more: MoreProcesses, service: str) -> list[Backend]:
    return [
        Backend(port=one.port, readiness_url=f"{one.operations_url}/readyz")
        for one in more.replicas.values()
        if one.service == service and one.port is not None
    ]


@pytest.mark.parametrize("service", ["gateway", "store", "fetcher"])
async def test_a_replica_that_stops_loses_nothing_and_no_client_notices(fleet: Fleet, service: str) -> None:
    leaving, redeliveries = f"{service}-1", await fleet.redeliveries()
    headers = {"Authorization": f"Bearer {ProcessSystem.of(fleet.stack).api_key}"}
    async with (
        serve_website(ADDRESS, [0] * HOSTS) as ports,
        httpx2.AsyncClient(base_url=fleet.gateways.url, headers=headers, timeout=30, trust_env=False) as http,
        httpx2.AsyncClient(base_url=f"http://{ADDRESS}:{ports[0]}", timeout=30, trust_env=False) as window,
    ):
        client, stopping = Client(http), asyncio.Event()
        urls = [f"http://{ADDRESS}:{ports[number % HOSTS]}/slow/{SLOW_SECONDS}?{service}-{number}" for number in range(VOLUME)]
        reading = [asyncio.create_task(client.read_on(number, stopping)) for number in range(READERS)]
        submitting = asyncio.create_task(client.submit_all(urls))
        await _wait_for_work(window, client)
        stopped_at = datetime.now(UTC)
        fleet.more.terminate(leaving)
        await submitting
        documents = await client.finish_all()
        assert await asyncio.to_thread(fleet.more.exit_code, leaving) == 0, fleet.more.log(leaving)
        stopping.set()
        await asyncio.gather(*reading)
        hits = Counter((await window.get("/seen/hits", params={"part": f"?{service}-"})).json())
    assert client.errors == [] and client.reads > VOLUME // 10
    finished_before = sum(datetime.fromisoformat(document["finished_at"]) < stopped_at for document in documents)
    assert finished_before < VOLUME // 2, "it was told to stop in the middle of the work"
    assert Counter(document["status"] for document in documents) == {"succeeded": VOLUME}
    assert {document["response"]["final_url"] for document in documents} == set(urls)
    assert len(hits) == VOLUME and set(hits.values()) == {1}, "each was asked for once"
    assert await fleet.redeliveries() == redeliveries


async def _wait_for_work(window: httpx2.AsyncClient, client: Client) -> None:
    """Until some are being fetched while others are still being submitted."""
    async with asyncio.timeout(60):
        while len(client.paths) < SUBMITTED or not (await window.get("/seen/hits", params={"part": "/slow/"})).json():
            await asyncio.sleep(POLL_SECONDS)
