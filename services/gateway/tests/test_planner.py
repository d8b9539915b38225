"""Plans of names, robots.txt and pace: over a lookup that asks nobody and a store that answers what a test puts into it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from common.chassis.settings import load_settings
from common.contracts.hosts import HostState, PaceRule, PaceView
from common.contracts.plans import HostPlan
from common.contracts.robots import RobotsAvailability, RobotsFile
from common.contracts.views import Waiting, WaitingReason
from common.egress.addresses import AddressVerdict
from common.egress.lookup import NameLookup
from common.egress.policies import TargetPolicy
from common.urls import read_url
from little_store import TOKEN, LittleStore

from gateway.metrics import GatewayMetrics
from gateway.plans.egress import EgressPlanner
from gateway.plans.models import PLAN_EXAMPLES, EgressReason, PlanDocument, PlanItem
from gateway.plans.planner import BIG_CHARACTERS, Planner
from gateway.plans.robots import QUOTED_CHARACTERS
from gateway.settings import GatewaySettings
from gateway.store_client import StoreClient

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
ANSWERS = {
    "public.example": ["93.184.216.34", "2606:4700::10"],
    "mixed.example": ["93.184.216.34", "10.0.0.5"],
    "inner.example": ["10.0.0.5"],
    "loop.example": ["127.0.0.1"],
}
LOOKUP_SECONDS = 0.2


@dataclass
class Names:
    """A lookup that asks nobody: one name hangs, and what is not known has no address."""

    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: str) -> Sequence[str]:
        """The addresses that are told of this name."""
        self.asked.append(name)
        if name == "hanging.example":
            await asyncio.Event().wait()
        if name not in ANSWERS:
            raise OSError("no such name")
        return ANSWERS[name]


@dataclass
class World:
    """A planner over its stand-ins."""

    planner: Planner
    names: Names
    store: LittleStore

    async def plan(self, *urls: str) -> list[PlanItem]:
        """The items of a plan."""
        return (await self.planner.plan(urls)).items


@pytest.fixture
async def world(gateway: Any) -> AsyncIterator[World]:
    """A planner with the default policy."""
    store = StoreClient(base_url=gateway.store_url, token=TOKEN, timeout_seconds=5, metrics=GatewayMetrics())
    names = Names()
    lookup = NameLookup(TargetPolicy(), lookup=names, timeout_seconds=LOOKUP_SECONDS)
    planner = Planner(
        egress=EgressPlanner(TargetPolicy(), names=lookup),
        store=store,
        product_token="Fetchwork",
        metrics=GatewayMetrics(),
        clock=lambda: NOW,
        urls_limit=100,
    )
    yield World(planner=planner, names=names, store=gateway.store)
    lookup.close()
    await store.close()


def _file(origin: str, text: str = "", *, expires_in: float = 60, availability: str = "found") -> RobotsFile:
    expires_at = NOW + timedelta(seconds=expires_in)
    fetched_at = NOW - timedelta(hours=1)
    return RobotsFile(
        origin=origin, availability=RobotsAvailability(availability), text=text, fetched_at=fetched_at, expires_at=expires_at
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://public.example/", "public"),
        ("http://mixed.example/", "deny_private"),
        ("http://inner.example/", "deny_private"),
        ("http://loop.example/", "deny_loopback"),
        ("http://nowhere.example/", "unresolved"),
        ("http://hanging.example/", "unresolved"),
    ],
)
async def test_names_are_judged_by_all_their_addresses_and_none_is_told(world: World, url: str, reason: str) -> None:
    [item] = await world.plan(url)
    assert item.egress.reason == reason and item.egress.verdict == ("refuse" if "deny" in reason else "allow")
    assert item.normalized_url == url and (item.pace is None) is (item.egress.verdict == "refuse")
    assert not any(address in item.model_dump_json() for answers in ANSWERS.values() for address in answers)


async def test_a_name_is_looked_up_once_a_port_and_all_of_them_together(world: World) -> None:
    urls = [f"http://{name}.example/{number}" for number in range(3) for name in ("hanging", "public", "nowhere")]
    async with asyncio.timeout(LOOKUP_SECONDS * 2):
        items = await world.plan(*urls, "https://public.example/", "http://x.example:22/", "http://localhost/")
    assert [item.egress.reason for item in items[:3]] == ["unresolved", "public", "unresolved"]
    assert sorted(world.names.asked) == ["hanging.example", "nowhere.example", "public.example", "public.example"]


async def test_names_may_lead_into_networks_that_an_operator_listed() -> None:
    policy, names = TargetPolicy(unsafe_networks=(ip_network("10.0.0.0/8"),)), Names()
    planner = EgressPlanner(policy, names=NameLookup(policy, lookup=names))
    urls = ["http://inner.example:8000/", "http://10.1.2.3:22/", "http://mixed.example/", "http://loop.example/"]
    [inner, literal, mixed, loop] = await planner.judge([read_url(url) for url in urls])
    assert (inner.reason, literal.reason) == (EgressReason.UNSAFE_NETWORK, EgressReason.UNSAFE_NETWORK)
    assert (mixed.verdict, loop.reason) == ("allow", EgressReason.DENY_LOOPBACK)


RULES = "User-agent: *\nCrawl-delay: 2\nDisallow: /private\nAllow: /private-not\n\nUser-agent: fetchwork\nDisallow: /ours\n"


async def test_robots_says_what_a_fetch_would_be_told(world: World) -> None:
    world.store.robots["http://public.example"] = _file("http://public.example", RULES)
    base = "http://public.example"
    items = await world.plan(f"{base}/ours/1", f"{base}/private", f"{base}/robots.txt", "https://public.example/ours/1")
    told = [(item.robots.verdict, item.robots.line, item.robots.crawl_delay_seconds) for item in items if item.robots]
    assert told == [
        ("disallowed", "Disallow: /ours", None), ("allowed", None, None), ("allowed", None, None), ("unknown", None, None)
    ]
    assert all(item.egress.verdict == "allow" and item.earliest_at == NOW for item in items)


@pytest.mark.parametrize(
    ("availability", "expires_in", "verdict", "is_stale"),
    [
        ("found", 60, "disallowed", False),
        ("found", 0, "disallowed", True),
        ("unavailable", 60, "unavailable", False),
        ("unavailable", -60, "unavailable", True),
        ("unreachable", 60, "unreachable", False),
        ("unreachable", 0, "unknown", False),
    ],
)
async def test_an_expired_file_is_told_as_such_and_an_expired_failure_is_forgotten(
    world: World, availability: str, expires_in: float, verdict: str, is_stale: bool
) -> None:
    text = "User-agent: *\nDisallow: /\nCrawl-delay: 3" if availability == "found" else ""
    world.store.robots["http://public.example"] = _file(
        "http://public.example", text, expires_in=expires_in, availability=availability
    )
    [item] = await world.plan("http://public.example/")
    assert item.robots is not None and (item.robots.verdict, item.robots.is_stale) == (verdict, is_stale)
    assert item.robots.crawl_delay_seconds == (3 if availability == "found" else None)
    assert (item.robots.fetched_at is None) is (verdict == "unknown")


async def test_a_file_that_is_too_large_for_a_plan_leaves_its_part_out(world: World) -> None:
    world.store.robots_omitted.add("http://public.example")
    page, file = await world.plan("http://public.example/", "http://public.example/robots.txt")
    assert page.robots is None and page.pace is not None
    assert file.robots is not None and file.robots.verdict == "allowed"


async def test_a_large_file_is_read_without_holding_others_up_and_not_quoted(world: World) -> None:
    lines = [f"Disallow: /{number}/x" for number in range(QUOTED_CHARACTERS // 10)]
    text = "\n".join(["User-agent: *", *lines])
    assert len(text) > BIG_CHARACTERS
    world.store.robots["http://public.example"] = _file("http://public.example", text)
    plans = [asyncio.create_task(world.plan("http://public.example/7/x", "http://public.example/")) for _ in range(3)]
    for refused, allowed in [await plan for plan in plans]:
        assert refused.robots is not None and (refused.robots.verdict, refused.robots.line) == ("disallowed", None)
        assert allowed.robots is not None and allowed.robots.verdict == "allowed"


def _closed(state: HostState, reason: WaitingReason | None, *, seconds: float) -> HostPlan:
    until = NOW + timedelta(seconds=seconds)
    return HostPlan(
        host="public.example",
        state=state,
        pace=PaceView(rule=PaceRule.OPERATOR, delay_ms=0, max_in_flight=1, until=until),
        waiting=Waiting(reason=reason, until=until) if reason is not None else None,
        opens_at=until,
    )


async def test_pace_and_earliest_start_are_the_hosts(world: World) -> None:
    world.store.plans["public.example"] = _closed(HostState.PAUSED, WaitingReason.HOST_PAUSED, seconds=30)
    waits, other = await world.plan("http://public.example/", "http://93.184.216.34/")
    assert waits.pace is not None and waits.pace.waiting is not None and other.pace is not None
    assert (waits.pace.state, waits.pace.waiting.reason) == ("paused", "host_paused")
    assert (waits.earliest_at, other.earliest_at) == (NOW + timedelta(seconds=30), NOW)
    assert (other.pace.rule, other.pace.max_in_flight, other.pace.waiting) == ("default", 1, None)


async def test_a_time_that_has_passed_meanwhile_is_now(world: World) -> None:
    world.store.plans["public.example"] = _closed(HostState.OPEN, WaitingReason.HOST_PACE, seconds=-1)
    [item] = await world.plan("http://public.example/")
    assert item.earliest_at == NOW


async def test_a_banned_host_says_so_and_egress_stays_about_egress(world: World) -> None:
    world.store.plans["public.example"] = _closed(HostState.BANNED, None, seconds=900)
    [item] = await world.plan("http://public.example/")
    assert item.egress.verdict == "allow" and item.pace is not None
    assert (item.pace.state, item.pace.waiting, item.earliest_at) == ("banned", None, None)
    assert item.pace.until == NOW + timedelta(seconds=900)


def test_reasons_are_the_verdicts_of_the_guard() -> None:
    never = {AddressVerdict.UNKNOWN, AddressVerdict.DENY_PEER}  # before a judgement, and of a connection
    verdicts = set(AddressVerdict) - never
    assert {reason.value for reason in EgressReason} == {verdict.value for verdict in verdicts} | {"unresolved"}
    refusals = {reason.value for reason in EgressReason if reason.is_refusal}
    assert refusals == {verdict.value for verdict in verdicts if verdict.is_denial}


def test_the_example_holds() -> None:
    for example in PLAN_EXAMPLES:
        PlanDocument.model_validate(example)


REQUIRED = {
    "METRICS_PORT": "0",
    "API_KEY": "a-key-for-tests-only",
    "EVENTS_URL": "redis://127.0.0.1:1",
    "STORE_URL": "http://127.0.0.1:3",
    "STORE_TOKEN": "0123456789abcdef",
}


def test_settings_allow_nothing_but_the_web_unless_an_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(f"FETCHWORK_{name}", value)
    settings = load_settings(GatewaySettings)
    assert settings.target_policy == TargetPolicy(ports=frozenset({80, 443}), unsafe_networks=())
    assert (settings.plan_urls_limit, settings.plan_lookup_timeout_seconds) == (100, 3)
    monkeypatch.setenv("FETCHWORK_UNSAFE_TARGET_NETWORKS", "127.8.0.1/32, fd00::/8,")
    monkeypatch.setenv("FETCHWORK_TARGET_PORTS", "80,8080")
    policy = load_settings(GatewaySettings).target_policy
    assert (len(policy.unsafe_networks), policy.ports) == (2, {80, 8080})
