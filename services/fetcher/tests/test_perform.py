"""The story of an attempt where robots.txt has a say: asked before every hop, and what its answer means."""

from datetime import datetime
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType, OutcomeKind, RobotsEvidence, RobotsVerdict
from common.urls import Target

from fetcher.errors import ExchangeFailed
from fetcher.perform import perform


class Robots:
    """A gate with a verdict by path."""

    def __init__(self, again_at: datetime, **verdicts: RobotsVerdict) -> None:
        self.verdicts, self.again_at = verdicts, again_at
        self.asked: list[str] = []
        self.failure: ExchangeFailed | None = None

    async def check(self, target: Target, *, log: Any) -> RobotsEvidence:
        self.asked.append(target.url)
        if self.failure:
            raise self.failure
        verdict = self.verdicts.get(target.url.rsplit("/", 1)[1], RobotsVerdict.ALLOWED)
        return RobotsEvidence(verdict=verdict, line="Disallow: /private", status=503)

    def asked_again_at(self, target: Target) -> datetime:
        return self.again_at


class Site:
    """Redirects /away to /next."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "/next"})
        return web.Response(text="hello")


@pytest.fixture
def site() -> Site:
    """What was asked for, and answers to all of it."""
    return Site()


async def test_allowed_hop_by_hop(site: Site, serve, make_client, command, noon: datetime) -> None:
    base, robots = await serve({"/{path:.*}": site.answer}), Robots(noon)
    outcome = (await perform(command(f"{base}/away"), client=make_client(), robots=robots)).outcome
    assert outcome.kind is OutcomeKind.FETCHED and outcome.evidence.robots.verdict is RobotsVerdict.ALLOWED
    assert robots.asked == [f"{base}/away", f"{base}/next"]


async def test_disallowed_is_refused_unasked_and_quotes_the_line(site: Site, serve, make_client, command, noon: datetime) -> None:
    base, robots = await serve({"/{path:.*}": site.answer}), Robots(noon, next=RobotsVerdict.DISALLOWED)
    outcome = (await perform(command(f"{base}/next"), client=make_client(), robots=robots)).outcome
    assert (outcome.kind, outcome.error.type, outcome.is_retryable) == (OutcomeKind.REFUSED, ErrorType.REFUSED_ROBOTS, False)
    assert "Disallow: /private" in outcome.error.detail and site.paths == [] and outcome.evidence.hops == ()


async def test_redirect_to_a_disallowed_path_is_not_followed(site: Site, serve, make_client, command, noon: datetime) -> None:
    base, robots = await serve({"/{path:.*}": site.answer}), Robots(noon, next=RobotsVerdict.DISALLOWED)
    outcome = (await perform(command(f"{base}/away"), client=make_client(), robots=robots)).outcome
    assert outcome.error.type is ErrorType.REFUSED_ROBOTS and site.paths == ["/away"]
    assert outcome.evidence.robots.verdict is RobotsVerdict.DISALLOWED


async def test_unreachable_waits_until_it_is_asked_again(site: Site, serve, make_client, command, noon: datetime) -> None:
    base, robots = await serve({"/{path:.*}": site.answer}), Robots(noon, next=RobotsVerdict.UNREACHABLE)
    outcome = (await perform(command(f"{base}/next"), client=make_client(), robots=robots)).outcome
    assert (outcome.kind, outcome.is_retryable, outcome.not_before) == (OutcomeKind.REFUSED, True, noon)
    assert "503" in outcome.error.detail and site.paths == []
    once = (await perform(command(f"{base}/next", method="POST"), client=make_client(), robots=robots)).outcome
    assert not once.is_retryable


@pytest.mark.parametrize("error", [ErrorType.DNS, ErrorType.CONNECT, ErrorType.TLS, ErrorType.TIMEOUT])
async def test_failure_to_ask_for_robots_ends_the_attempt(
    error: ErrorType, site: Site, serve, make_client, command, noon: datetime
) -> None:
    robots = Robots(noon)
    robots.failure = ExchangeFailed(error, "no robots.txt")
    base = await serve({"/{path:.*}": site.answer})
    outcome = (await perform(command(f"{base}/next"), client=make_client(), robots=robots)).outcome
    assert outcome.error.type is error and site.paths == []


async def test_robots_are_not_asked_where_the_caller_ignores_them(
    site: Site, serve, make_client, command, noon: datetime
) -> None:
    base, robots = await serve({"/{path:.*}": site.answer}), Robots(noon, next=RobotsVerdict.DISALLOWED)
    outcome = (await perform(command(f"{base}/next", robots="ignore"), client=make_client(), robots=robots)).outcome
    assert outcome.kind is OutcomeKind.FETCHED and robots.asked == []
    assert outcome.evidence.robots.verdict is RobotsVerdict.IGNORED
