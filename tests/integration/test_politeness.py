"""What hosts see of several workers and dispatchers: never more than the pace, hardly less, whatever dies meanwhile."""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace

import httpx2
import pytest
from bulk import accept_in_bulk
from common.contracts.fetches import FetchRequest
from driver import Driver, open_driver
from fetchwork_local.stack import Stack
from more_processes import MoreProcesses
from prometheus_client.parser import text_string_to_metric_families
from system import ProcessSystem
from timed_origin import Exchange, TimedHost, serve_timed_hosts

ADDRESS = "127.9.0.2"
ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{ADDRESS}/32",
    "FETCHWORK_HOST_MAX_IN_FLIGHT": "4",
    "FETCHWORK_LEASE_MARGIN_SECONDS": "2",  # so that a test can wait for the lease of a killed worker
    "FETCHWORK_API_KEY": "",
}
LANES = 4
HOSTS = 20
DELAYS = (0, 0, 0, 0.2, 0.25, 0.3, 0.4, 0.5, 0.5, 0.6, 0.75, 0.8, 1, 1, 1.2, 1.5, 1.5, 1.8, 2, 2)
FREE_RESPONSE_SECONDS = 0.25
SETTLE_SECONDS, WINDOW_SECONDS, REST_SECONDS = 3, 20, 3
RATE = 0.9
"""Issue 5: of what its pace and its response time allow, each host with a backlog gets at least this share."""
RETRY_AFTER_SECONDS = 5
IN_FLIGHT_SECONDS = 0.3
DELAYED_SECONDS = 1.0
"""Issue 5: by so much at most others are delayed."""
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A stack with three fetchers and two stores, and a client of it."""

    stack: Stack
    more: MoreProcesses
    driver: Driver

    async def violations(self) -> float:
        """`fetchwork_politeness_violations_total` of both stores."""
        urls = [self.stack.status().metrics["store"]]
        urls += [f"{one.operations_url}/metrics" for one in self.more.replicas.values() if one.service == "store"]
        total, found = 0.0, 0
        async with httpx2.AsyncClient(timeout=15, trust_env=False) as client:
            for url in urls:
                for family in text_string_to_metric_families((await client.get(url)).raise_for_status().text):
                    samples = [one for one in family.samples if one.name == "fetchwork_politeness_violations_total"]
                    total, found = total + sum(one.value for one in samples), found + len(samples)
        assert found == len(urls) == 2
        return total

    async def slow_down(self, host: TimedHost, delay_seconds: float) -> None:
        """As an operator does."""
        change = {"delay_ms": round(delay_seconds * 1000), "expires_in_seconds": 600}
        answer = await self.driver.client.patch(f"/v1/hosts/{host.name}", json=change)
        assert answer.status_code == 200, answer.text

    async def accept(self, *queues: tuple[TimedHost, str, int], **request: object) -> None:
        """So many pages of each host, with names that start so, one of each in turn."""
        longest = max(count for _, _, count in queues)
        urls = [host.url(f"{name}{number}") for number in range(longest) for host, name, count in queues if number < count]
        await accept_in_bulk(self.stack, [FetchRequest(url=url, **request) for url in urls])


@pytest.fixture(scope="module")
def crowded_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, MoreProcesses]]:
    """Its own stack, since others raise `max_in_flight`; with two more fetchers and one more store."""
    folder = tmp_path_factory.mktemp("politeness")
    stack = Stack(folder / "home", environment=ENVIRONMENT)
    more = MoreProcesses(stack, environment=ENVIRONMENT, folder=folder)
    stack.start()
    try:
        for service, name in (("fetcher", "fetcher-1"), ("fetcher", "fetcher-2"), ("store", "store-1")):
            more.start(service, name)
        more.wait_until_ready()
        yield stack, more
    finally:
        more.stop()
        stack.stop()


@pytest.fixture(scope="module")
async def crowd(crowded_stack: tuple[Stack, MoreProcesses]) -> AsyncIterator[Crowd]:
    """A client of that stack."""
    stack, more = crowded_stack
    async with open_driver(ProcessSystem.of(stack)) as driver:
        yield Crowd(stack=stack, more=more, driver=driver)


@pytest.fixture
async def hosts() -> AsyncIterator[Sequence[TimedHost]]:
    """Twenty hosts that nobody has asked for anything yet."""
    async with serve_timed_hosts(ADDRESS, HOSTS) as served:
        yield served


async def test_every_host_gets_its_pace_and_none_is_asked_faster(crowd: Crowd, hosts: Sequence[TimedHost]) -> None:
    paces = dict(zip((host.name for host in hosts), DELAYS, strict=True))
    await _ask_for_delays(crowd, hosts, DELAYS)
    begun = time.monotonic()
    seconds = SETTLE_SECONDS + WINDOW_SECONDS + REST_SECONDS
    queues = [(host, "paced", 2 + int(seconds * _allowed(paces[host.name], host.response_seconds))) for host in hosts]
    await crowd.accept(*queues)
    await _wait_for_pages({host.name: count for host, _, count in queues}, hosts, since=begun, seconds=2 * seconds)
    figures = [_figures(host, paces[host.name], host.since(begun)) for host in hosts]
    print("\n".join(["host delay allowed/s achieved/s share gap most-at-once", *map(str, figures)]))  # noqa: T201
    assert all(one.shortest_gap >= one.delay for one in figures if one.delay), figures
    assert all(one.most_at_once <= (1 if one.delay else LANES) for one in figures), figures
    assert all(one.achieved >= RATE * one.allowed for one in figures), figures
    assert await crowd.violations() == 0


async def test_a_429_with_retry_after_silences_all_workers_on_that_host_only(crowd: Crowd, hosts: Sequence[TimedHost]) -> None:
    asking, other = hosts[0], hosts[1]
    asking.response_seconds = other.response_seconds = FREE_RESPONSE_SECONDS
    asking.slow_down_at, asking.retry_after_seconds = 40, RETRY_AFTER_SECONDS
    pages = {asking.name: 80, other.name: 180}
    await crowd.accept((asking, "asking", pages[asking.name]), (other, "other", pages[other.name]))
    refused_at = await _refusal(asking, seconds=30)
    await asyncio.sleep(RETRY_AFTER_SECONDS + 0.2)
    later = [one.arrived - refused_at for one in asking.exchanges if one.arrived > refused_at]
    during = [seconds for seconds in later if seconds < RETRY_AFTER_SECONDS]
    assert len(during) < LANES and all(seconds < IN_FLIGHT_SECONDS for seconds in during), during
    window = [one for one in other.exchanges if refused_at <= one.arrived <= refused_at + RETRY_AFTER_SECONDS]
    achieved, allowed = _rate(window), _allowed(0, _response(window))
    print(f"meanwhile elsewhere: {achieved:.1f}/s of {allowed:.1f}/s; then here, s: {during}")  # noqa: T201
    assert achieved >= RATE * allowed
    await _wait_for_pages(pages, [asking, other], since=0.0, seconds=30)
    assert await crowd.violations() == 0


async def test_a_delay_survives_the_death_of_every_fetcher_and_store(crowd: Crowd, hosts: Sequence[TimedHost]) -> None:
    paced = hosts[:6]
    delays = (0.25, 0.25, 0.5, 0.5, 1, 1)
    await _ask_for_delays(crowd, paced, delays)
    begun = time.monotonic()
    pages = {host.name: int(14 / (delay + 0.1)) for host, delay in zip(paced, delays, strict=True)}
    await crowd.accept(*((host, "survives", pages[host.name]) for host in paced), timeout_seconds=3)
    await asyncio.sleep(4)
    status = crowd.stack.status()
    for name in ("fetcher", "store"):
        pid = status.processes[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    for replica in list(crowd.more.replicas.values()):
        crowd.more.kill(replica.name)
        crowd.more.start(replica.service, replica.name)
    await _wait_for_pages(pages, paced, since=begun, seconds=60)
    figures = [_figures(host, delay, host.since(begun)) for host, delay in zip(paced, delays, strict=True)]
    print("\n".join(["host delay allowed/s achieved/s share gap most-at-once", *map(str, figures)]))  # noqa: T201
    assert all(host.since(killed_at) for host in paced)
    assert all(one.shortest_gap >= one.delay for one in figures), figures
    assert all(one.most_at_once == 1 for one in figures), figures
    await asyncio.to_thread(crowd.more.wait_until_ready)
    await crowd.driver.system.wait_until_ready()
    assert await crowd.violations() == 0


async def test_a_thousand_slow_pages_of_one_host_do_not_delay_others(crowd: Crowd) -> None:
    async with serve_timed_hosts(ADDRESS, 1 + 2 * HOSTS) as (slow, *others):
        slow.response_seconds = 1.0
        idle = await _waits(crowd, others[:HOSTS])
        await crowd.accept((slow, "slow", 1000))
        async with asyncio.timeout(30):
            while len(slow.exchanges) < 2 * LANES:
                await asyncio.sleep(POLL_SECONDS)
        loaded = await _waits(crowd, others[HOSTS:])
        assert _most_at_once(slow.exchanges) <= LANES
        banned = await crowd.driver.client.patch(f"/v1/hosts/{slow.name}", json={"state": "banned"})
        assert banned.status_code == 200, banned.text
    for name, waits in (("idle", idle), ("beside them", loaded)):
        print(f"{name}: median {statistics.median(waits):.3f} s, longest {max(waits):.3f} s")  # noqa: T201
    assert max(loaded) <= max(idle) + DELAYED_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One host: its pace, the rates a second, the shortest gap, and the most requests at once."""

    host: str
    delay: float
    allowed: float
    achieved: float
    shortest_gap: float
    most_at_once: int

    def __str__(self) -> str:
        share = self.achieved / self.allowed
        gap = f"{self.shortest_gap:.3f}" if self.delay else "-"
        return f"{self.host} {self.delay:g} {self.allowed:.2f} {self.achieved:.2f} {share:.1%} {gap} {self.most_at_once}"


def _figures(host: TimedHost, delay: float, exchanges: Sequence[Exchange]) -> Figures:
    first = exchanges[0].arrived
    ended = [replace(one, ended=min(one.ended, time.monotonic())) for one in exchanges]
    window = [one for one in ended if SETTLE_SECONDS <= one.arrived - first <= SETTLE_SECONDS + WINDOW_SECONDS]
    return Figures(
        host=host.name,
        delay=delay,
        allowed=_allowed(delay, _response(window)),
        achieved=_rate(window),
        shortest_gap=_shortest_gap(ended),
        most_at_once=_most_at_once(ended),
    )


def _allowed(delay: float, response: float) -> float:
    return 1 / (delay + response) if delay else LANES / response


def _rate(exchanges: Sequence[Exchange]) -> float:
    return (len(exchanges) - 1) / (exchanges[-1].arrived - exchanges[0].arrived)


def _response(exchanges: Sequence[Exchange]) -> float:
    return statistics.fmean(one.ended - one.arrived for one in exchanges)


def _shortest_gap(exchanges: Sequence[Exchange]) -> float:
    """From the end of any exchange before to the arrival of the next."""
    gaps, last_end = [float("inf")], exchanges[0].ended
    for one in exchanges[1:]:
        gaps.append(one.arrived - last_end)
        last_end = max(last_end, one.ended)
    return min(gaps)


def _most_at_once(exchanges: Sequence[Exchange]) -> int:
    return max(sum(one.arrived <= now.arrived < one.ended for one in exchanges) for now in exchanges)


async def _ask_for_delays(crowd: Crowd, hosts: Sequence[TimedHost], delays: Sequence[float]) -> None:
    """Every second host asks by its robots.txt, which is known after a first fetch; for the others an operator does."""

    async def ask(number: int, host: TimedHost, delay: float) -> None:
        if not delay:
            host.response_seconds = FREE_RESPONSE_SECONDS
        elif number % 2:
            await crowd.slow_down(host, delay)
        else:
            host.crawl_delay_seconds = delay
            assert (await crowd.driver.fetch(host.url("first")))["status"] == "succeeded"
            await asyncio.sleep(delay)  # so that no gap spans the beginning of what is counted

    await asyncio.gather(*(ask(number, host, delay) for number, (host, delay) in enumerate(zip(hosts, delays, strict=True))))


async def _wait_for_pages(pages: dict[str, int], hosts: Sequence[TimedHost], *, since: float, seconds: float) -> None:
    """Until each host was asked for all of its pages at least once, and none is being answered."""
    try:
        async with asyncio.timeout(seconds):
            while any(len(_answered(host, since)) < pages[host.name] for host in hosts):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        missing = {host.name: (len(_answered(host, since)), pages[host.name]) for host in hosts}
        raise AssertionError(f"not all asked for in {seconds} s: {missing}") from None


def _answered(host: TimedHost, since: float) -> set[str]:
    """The pages that got an answer other than 429."""
    return {one.path for one in host.since(since) if one.status == 200} - {"/robots.txt"}


async def _refusal(host: TimedHost, *, seconds: float) -> float:
    """When the 429 was sent."""
    async with asyncio.timeout(seconds):
        while not (sent := [one.ended for one in host.exchanges if one.status == 429]):
            await asyncio.sleep(POLL_SECONDS)
    return sent[0]


async def _waits(crowd: Crowd, hosts: Sequence[TimedHost]) -> list[float]:
    """Seconds from acceptance to arrival of 100 fetches, five on each host."""
    accepted: dict[tuple[str, str], float] = {}

    async def submit(host: TimedHost, page: str) -> None:
        await crowd.driver.submit(host.url(page))
        accepted[host.name, f"/{page}"] = time.monotonic()

    for host in hosts:
        host.response_seconds = 0.01
    await asyncio.gather(*(submit(host, f"quick{page}") for page in range(5) for host in hosts))
    await _wait_for_pages({host.name: 5 for host in hosts}, hosts, since=0.0, seconds=30)
    arrived = {(host.name, one.path): one.arrived for host in hosts for one in reversed(host.exchanges)}
    return [max(0.0, arrived[key] - moment) for key, moment in accepted.items()]
