"""The pace inside an attempt: after robots.txt, between hops, and where a redirect asks to wait. Real origins, a real gate."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from aiohttp import web
from common.clock import utc_now
from common.contracts.fetches import Budget, ErrorType, OutcomeKind, PerformFetch
from prometheus_client import CollectorRegistry
from tasks_rig import train_of

from fetcher.perform import perform
from fetcher.politeness.pace import Pace
from fetcher.politeness.robots import RobotsGate
from fetcher.politeness.robots_metrics import RobotsMetrics
from fetcher.politeness.robots_store import RobotsStore
from fetcher.politeness.slowdowns import host_of
from fetcher.report import StoreAddress, store_session

pytest_plugins = ["tasks_fixtures"]

Until = Callable[..., Awaitable[Any]]
FETCHED, SNOOZED = OutcomeKind.FETCHED, OutcomeKind.SNOOZED


@dataclass
class Site:
    """Pages, a robots.txt with this Crawl-delay, and redirects by path; notes when each request came and its answer went."""

    crawl_delay: float | None = None
    robots_status: int = 200
    redirects: dict[str, tuple[int, str, str | None]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    went: list[float] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.came.append(monotonic())
        self.paths.append(request.path)
        response = self._response(request.path)
        self.went.append(monotonic())
        return response

    def _response(self, path: str) -> web.Response:
        if path == "/robots.txt":
            delay = f"Crawl-delay: {self.crawl_delay}\n" if self.crawl_delay is not None else ""
            return web.Response(status=self.robots_status, text=f"User-agent: *\n{delay}Disallow: /private\n")
        if path not in self.redirects:
            return web.Response(text="a page")
        status, location, retry_after = self.redirects[path]
        headers = {"Location": location} | ({"Retry-After": retry_after} if retry_after is not None else {})
        return web.Response(status=status, headers=headers, text="moved")

    @property
    def gaps(self) -> list[float]:
        return [came - went for came, went in zip(self.came[1:], self.went, strict=False)]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def base(serve: Any, site: Site) -> str:
    return str(await serve({"/{path:.*}": site.answer}))


@pytest.fixture
async def gate(make_client: Any) -> AsyncIterator[RobotsGate]:
    """A gate whose store is away: nothing listens on port 1."""
    async with store_session() as session:
        store = RobotsStore(StoreAddress(url="http://127.0.0.1:1", token="secret"), session=session, clock=utc_now)
        metrics = RobotsMetrics(CollectorRegistry())
        gate = RobotsGate(make_client(), store=store, metrics=metrics, user_agent="Fetchwork/1", clock=utc_now)
        yield gate
        await gate.close()


@pytest.fixture
def attempt(make_client: Any) -> Callable[..., Awaitable[Any]]:
    """Perform one command at a pace, and return its outcome."""

    async def attempt(command: PerformFetch, *, robots: Any = None) -> Any:
        delay = command.train.delay_seconds if command.train else 0.0
        pace = Pace(host_of(command.request.url), delay_seconds=delay)
        return (await perform(command, client=make_client(), robots=robots, pace=pace)).outcome

    return attempt


async def test_page_comes_the_delay_after_robots_txt_outside_its_timeout(base, site, gate, attempt, command) -> None:
    [car] = train_of(command(f"{base}/page", timeout_seconds=0.4), delay_seconds=0.6)
    outcome = await attempt(car, robots=gate)
    assert outcome.kind is FETCHED and site.paths == ["/robots.txt", "/page"]
    assert site.gaps[0] >= 0.6
    assert (await attempt(car, robots=gate)).kind is FETCHED
    assert site.gaps[1] < 0.6  # robots.txt is known now, and what lies between two attempts is not theirs to wait


async def test_crawl_delay_that_was_just_read_spaces_the_rest_of_the_train(rig, base, site, gate, command, until) -> None:
    it, site.crawl_delay = rig(robots=gate), 0.3
    cars = [command(f"{base}/{number}") for number in range(3)]
    await it.take(*train_of(*cars, delay_seconds=0.05))
    await until(lambda: it.published.kinds == [FETCHED] * 3)
    assert site.paths == ["/robots.txt", "/0", "/1", "/2"] and all(gap >= 0.3 for gap in site.gaps), site.gaps


async def test_long_crawl_delay_gives_the_train_back_and_says_so(rig, base, site, gate, command, until: Until) -> None:
    it, site.crawl_delay, before = rig(robots=gate), 30, utc_now()
    cars = train_of(*(command(f"{base}/{number}") for number in range(3)))
    await it.take(*cars)
    await until(lambda: it.slots.free == 8)
    assert it.published.kinds == [SNOOZED] * 3 and site.paths == ["/robots.txt"]
    first, *rest = (attempted.outcome for attempted in it.published.outcomes)
    assert timedelta(seconds=30) <= first.not_before - before < timedelta(seconds=40)
    assert first.evidence.robots.crawl_delay_seconds == 30 and first.error is None
    assert [outcome.not_before for outcome in rest] == [first.not_before] * 2
    assert it.sample("snoozed_total", reason="crawl_delay") == 3
    assert it.sample("attempt_duration_seconds_count", phase="total") == 0
    await it.take(*train_of(command(f"{base}/later")))  # the file is known now: the store has the delay, and no one waits twice
    await until(lambda: it.published.kinds == [SNOOZED] * 3 + [FETCHED])


async def test_wait_that_outlasts_the_lease_is_not_slept(base, site, gate, attempt, command) -> None:
    site.crawl_delay = 4
    [car] = train_of(command(f"{base}/page", lease_seconds=3))
    assert (await attempt(car, robots=gate)).kind is SNOOZED and site.paths == ["/robots.txt"]


async def test_command_without_a_train_waits_within_its_timeout_and_is_never_given_back(
    base, site, gate, attempt, command
) -> None:
    site.crawl_delay = 30
    outcome = await attempt(command(f"{base}/page", timeout_seconds=0.8), robots=gate)
    assert outcome.kind is FETCHED and 0.2 <= site.gaps[0] <= 0.8


async def test_what_robots_txt_forbids_costs_the_next_car_no_gap(rig, base, site, gate, command, until: Until) -> None:
    it = rig(robots=gate)
    await it.take(*train_of(*(command(f"{base}/private") for _ in range(4)), delay_seconds=0.8, seconds=1.5))
    await until(lambda: it.published.kinds == [OutcomeKind.REFUSED] * 4)  # only robots.txt itself was an exchange
    assert site.paths == ["/robots.txt"]


async def test_unreachable_robots_txt_stops_the_train(rig, base, site, gate, command, until: Until) -> None:
    it, site.robots_status = rig(robots=gate), 503
    await it.take(*train_of(*(command(f"{base}/{number}") for number in range(3))))
    await until(lambda: it.published.kinds == [OutcomeKind.REFUSED, SNOOZED, SNOOZED])
    [told] = {attempted.outcome.not_before for attempted in it.published.outcomes}
    assert told is not None and it.slowdowns.count == 0  # pages were never asked for, and other fetches may ignore robots.txt


async def test_hops_on_the_same_host_are_spaced(base, site, attempt, command) -> None:
    site.redirects = {"/a": (302, "/b", None), "/b": (301, "/c", None)}
    [car] = train_of(command(f"{base}/a"), delay_seconds=0.25)
    outcome = await attempt(car)
    assert outcome.kind is FETCHED and site.paths == ["/a", "/b", "/c"] and all(gap >= 0.25 for gap in site.gaps)


async def test_hop_to_another_host_is_not_and_the_way_back_is(serve, base, site, attempt, command) -> None:
    there = Site(redirects={"/b": (302, f"{base}/c", None)})
    other = await serve({"/{path:.*}": there.answer}, address="127.0.0.2")
    site.redirects = {"/a": (302, f"{other}/b", None)}
    [car] = train_of(command(f"{base}/a"), delay_seconds=0.5)
    outcome = await attempt(car)
    assert outcome.kind is FETCHED and there.paths == ["/b"] and site.paths == ["/a", "/c"]
    assert there.came[0] - site.went[0] < 0.5 <= site.gaps[0]


async def test_redirect_that_the_pace_leaves_no_time_for_fails_at_once(base, site, attempt, command) -> None:
    site.redirects = {"/a": (302, "/b", None)}
    [car] = train_of(command(f"{base}/a", timeout_seconds=20), delay_seconds=3000)
    outcome = await asyncio.wait_for(attempt(car), timeout=5)
    assert (outcome.error.type, outcome.evidence.exceeded, outcome.is_retryable) == (ErrorType.TIMEOUT, Budget.TOTAL, True)
    assert site.paths == ["/a"] and outcome.evidence.received.status == 302


async def test_the_pace_of_the_host_does_not_eat_the_timeout(base, site, attempt, command) -> None:
    site.redirects = {"/a": (302, "/b", None)}
    [car] = train_of(command(f"{base}/a", timeout_seconds=0.8), delay_seconds=1)
    outcome = await attempt(car)
    assert outcome.kind is FETCHED and site.paths == ["/a", "/b"] and site.gaps[0] >= 1


async def test_next_car_keeps_its_distance_from_the_last_hop(rig, base, site, command, until: Until) -> None:
    it, site.redirects = rig(), {"/a": (302, "/b", None)}
    await it.take(*train_of(command(f"{base}/a"), command(f"{base}/c"), delay_seconds=0.2))
    await until(lambda: it.published.kinds == [FETCHED] * 2)
    assert site.paths == ["/a", "/b", "/c"] and all(gap >= 0.2 for gap in site.gaps)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_redirect_waits_as_its_retry_after_says(method: str, base, site, attempt, command) -> None:
    site.redirects = {"/a": (303, "/b", "1")}
    outcome = await attempt(command(f"{base}/a", method=method))
    assert outcome.response.status == 200 and len(outcome.response.redirects) == 1
    assert site.paths == ["/a", "/b"] and site.gaps[0] >= 0.95  # whole seconds from a clock of its own


@pytest.mark.parametrize(("method", "is_retryable"), [("GET", True), ("POST", False)])
async def test_redirect_with_too_long_a_retry_after_is_the_response(
    method: str, is_retryable: bool, base, site, attempt, command
) -> None:
    site.redirects, before = {"/a": (303, "/b", "60")}, utc_now()
    outcome = await attempt(command(f"{base}/a", method=method))
    assert (outcome.kind, outcome.response.status, outcome.is_retryable) == (FETCHED, 303, is_retryable)
    assert timedelta(seconds=59) < outcome.not_before - before < timedelta(seconds=65)
    assert site.paths == ["/a"] and outcome.response.redirects == () and outcome.body.size_bytes == len("moved")


async def test_unreadable_retry_after_keeps_no_redirect_waiting(base, site, attempt, command) -> None:
    site.redirects = {"/a": (302, "/b", "soon")}
    outcome = await attempt(command(f"{base}/a"))
    assert outcome.response.status == 200 and site.gaps[0] < 0.9


async def test_postponed_redirect_slows_its_host_down(rig, base, site, command, until: Until) -> None:
    it, site.redirects = rig(), {"/a": (302, "/b", "60")}
    await it.take(*train_of(command(f"{base}/a"), command(f"{base}/c")))
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED])
    assert it.slowdowns.until(host_of(base)) == it.published.outcomes[0].outcome.not_before
