"""Whole attempts before a real gate: what robots.txt forbids is not asked for, on no hop, and the outcome says why."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from aiohttp import web
from common.clock import utc_now
from common.contracts.fetches import ErrorType, OutcomeKind, RobotsVerdict
from common.egress.policies import TargetPolicy
from prometheus_client import CollectorRegistry

from fetcher.perform import perform
from fetcher.politeness.robots import RobotsGate
from fetcher.politeness.robots_metrics import RobotsMetrics
from fetcher.politeness.robots_store import RobotsStore
from fetcher.report import StoreAddress, store_session

Start = Callable[..., Awaitable[tuple[str, list[str]]]]


@pytest.fixture
async def gate(make_client) -> AsyncIterator[RobotsGate]:
    """A gate whose store is away: nothing listens on port 1."""
    async with store_session() as session:
        store = RobotsStore(StoreAddress(url="http://127.0.0.1:1", token="secret"), session=session, clock=utc_now)
        metrics = RobotsMetrics(CollectorRegistry())
        gate = RobotsGate(make_client(), store=store, metrics=metrics, user_agent="Fetchwork/1", clock=utc_now)
        yield gate
        await gate.close()


@pytest.fixture
def start(serve) -> Start:
    """A site with a robots.txt of this status, and the paths that it was asked for."""

    async def start(*, status: int = 200, address: str = "127.0.0.1", redirect_to: str = "/private") -> tuple[str, list[str]]:
        asked: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            asked.append(request.path)
            if request.path == "/robots.txt":
                return web.Response(status=status, text="User-agent: *\nDisallow: /private\n")
            if request.path == "/moved":
                return web.Response(status=302, headers={"Location": redirect_to})
            return web.Response(text="a page")

        return await serve({"/{path:.*}": answer}, address=address), asked

    return start


async def test_disallowed_page_is_refused_for_good_and_never_asked_for(gate, start, make_client, command) -> None:
    base, asked = await start()
    outcome = (await perform(command(f"{base}/private"), client=make_client(), robots=gate)).outcome
    assert outcome.kind is OutcomeKind.REFUSED and outcome.error is not None and not outcome.is_retryable
    assert outcome.error.type is ErrorType.REFUSED_ROBOTS and "Disallow: /private" in outcome.error.detail
    robots = outcome.evidence.robots
    assert robots is not None and (robots.verdict, robots.line) == (RobotsVerdict.DISALLOWED, "Disallow: /private")
    assert asked == ["/robots.txt"] and outcome.evidence.hops == ()


async def test_allowed_page_is_fetched_and_the_file_asked_for_once(gate, start, make_client, command) -> None:
    base, asked = await start()
    for _ in range(2):
        outcome = (await perform(command(f"{base}/open"), client=make_client(), robots=gate)).outcome
        assert outcome.kind is OutcomeKind.FETCHED and [hop.url for hop in outcome.evidence.hops] == [f"{base}/open"]
        assert outcome.evidence.robots is not None and outcome.evidence.robots.verdict is RobotsVerdict.ALLOWED
    assert asked == ["/robots.txt", "/open", "/open"]


async def test_unreachable_file_is_worth_waiting_for(gate, start, make_client, command) -> None:
    base, asked = await start(status=503)
    before = utc_now()
    outcome = (await perform(command(f"{base}/open"), client=make_client(), robots=gate)).outcome
    assert outcome.error is not None and outcome.error.type is ErrorType.REFUSED_ROBOTS and outcome.is_retryable
    assert outcome.not_before is not None and timedelta(seconds=59) < outcome.not_before - before < timedelta(seconds=70)
    assert asked == ["/robots.txt"]


async def test_redirect_is_checked_before_its_hop(gate, start, make_client, command) -> None:
    base, asked = await start()
    outcome = (await perform(command(f"{base}/moved"), client=make_client(), robots=gate)).outcome
    assert outcome.error is not None and outcome.error.type is ErrorType.REFUSED_ROBOTS
    assert asked == ["/robots.txt", "/moved"]


async def test_redirect_to_another_origin_asks_that_origin(gate, start, make_client, command) -> None:
    other, asked_there = await start(address="127.0.0.2")
    base, _ = await start(redirect_to=f"{other}/private")
    outcome = (await perform(command(f"{base}/moved"), client=make_client(), robots=gate)).outcome
    assert outcome.error is not None and outcome.error.type is ErrorType.REFUSED_ROBOTS
    assert outcome.evidence.robots is not None and outcome.evidence.robots.url == f"{other}/robots.txt"
    assert asked_there == ["/robots.txt"]


async def test_ignored_file_is_not_asked_for(gate, start, make_client, command) -> None:
    base, asked = await start()
    outcome = (await perform(command(f"{base}/private", robots="ignore"), client=make_client(), robots=gate)).outcome
    assert outcome.kind is OutcomeKind.FETCHED and asked == ["/private"]
    assert outcome.evidence.robots is not None and outcome.evidence.robots.verdict is RobotsVerdict.IGNORED


async def test_refused_address_is_in_the_evidence_of_the_attempt(gate, make_client, command) -> None:
    outcome = (await perform(command("http://[::1]:1/a"), client=make_client(), robots=gate)).outcome
    assert outcome.error is not None and outcome.error.type is ErrorType.REFUSED_ADDRESS and not outcome.is_retryable
    assert [(hop.verdict, hop.addresses) for hop in outcome.evidence.hops] == [("deny_loopback", ("::1",))]


async def test_address_is_refused_before_its_robots_txt_is_asked_for(gate, make_client, command, dials) -> None:
    client = make_client(TargetPolicy(), open_socket=dials)  # the gate may go to loopback, the page may not
    outcome = (await perform(command("http://127.0.0.1:1/page"), client=client, robots=gate)).outcome
    assert outcome.error is not None and outcome.error.type is ErrorType.REFUSED_ADDRESS
    assert [hop.url for hop in outcome.evidence.hops] == ["http://127.0.0.1:1/page"]
