"""What a gateway that plans is told: every host it asks for, known or not, and the robots.txt files that are here."""

from datetime import timedelta
from typing import Any

import pytest
from api_words import open_caller
from common.contracts.hosts import HostChange, HostOperation, HostState, PaceRule
from common.contracts.plans import PLAN_LIMIT, PLAN_ROBOTS_LIMIT_BYTES, PlanAnswer
from common.contracts.robots import ROBOTS_LIMIT_BYTES, RobotsAvailability, RobotsFile
from common.contracts.views import WaitingReason
from ledger_words import accept_events, accepted, at, claim_each
from redis.asyncio import Redis
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.hosts.operate import operate_host
from store.hosts.pace import PaceSettings
from store.hosts.plan import plan_hosts
from store.hosts.view import read_host
from store.robots.keep import keep_robots, read_several

PACE = PaceSettings(delay_ms=0, max_in_flight=4)
LEASE = Lease(margin_seconds=10, abandon_after_dispatches=9)
PATH = "/internal/v1/plan"


def _file(origin: str, text: str = "", *, availability: RobotsAvailability = RobotsAvailability.FOUND) -> RobotsFile:
    return RobotsFile(origin=origin, availability=availability, text=text, fetched_at=at(0), expires_at=at(60))


async def _operate(pool: Pool, host: str, **change: Any) -> None:
    operation = HostOperation(actor="op", change=HostChange(**change))
    await in_transaction(pool, lambda c: operate_host(c, host, operation, PACE, now=at(0)))


async def test_a_host_that_nobody_met_has_the_default_pace_and_stays_unmet(pool: Pool) -> None:
    [plan] = await plan_hosts(pool, ["new.test"], PaceSettings(delay_ms=700, max_in_flight=4), now=at(0))
    assert (plan.host, plan.state, plan.waiting, plan.opens_at) == ("new.test", HostState.OPEN, None, None)
    assert (plan.pace.rule, plan.pace.delay_ms, plan.pace.max_in_flight, plan.pace.until) == (PaceRule.DEFAULT, 700, 1, None)
    assert await fetch_rows(pool, "SELECT 1 FROM hosts") == []


async def test_hosts_come_in_the_order_they_were_asked_for(pool: Pool) -> None:
    await accept_events(pool, accepted(1, host="b.test"), now=at(0))
    names = ["c.test", "b.test", "a.test"]
    assert [plan.host for plan in await plan_hosts(pool, names, PACE, now=at(0))] == names
    assert await plan_hosts(pool, [], PACE, now=at(0)) == []


async def test_what_closes_a_host_is_named_with_its_end(pool: Pool) -> None:
    names = ["paused.test", "banned.test", "asked.test", "lost.test"]
    await _operate(pool, "paused.test", state="paused", expires_in_seconds=600)
    await _operate(pool, "banned.test", state="banned", expires_in_seconds=900)
    for name in names[2:]:
        await accept_events(pool, accepted(1, host=name), now=at(0))
    await fetch_rows(pool, "UPDATE hosts SET paused_until = $1 WHERE host = 'asked.test'", at(30))
    await fetch_rows(pool, "UPDATE hosts SET broken_until = $1, failures = 7 WHERE host = 'lost.test'", at(40))
    paused, banned, asked, lost = await plan_hosts(pool, names, PACE, now=at(1))
    assert (paused.state, paused.pace.rule, paused.opens_at) == (HostState.PAUSED, PaceRule.OPERATOR, at(600))
    assert paused.waiting is not None
    assert (paused.waiting.reason, paused.waiting.until) == (WaitingReason.HOST_PAUSED, at(600))
    assert (banned.state, banned.opens_at, banned.waiting) == (HostState.BANNED, at(900), None), "nothing waits: it fails"
    assert (asked.state, asked.pace.rule, asked.opens_at) == (HostState.OPEN, PaceRule.RETRY_AFTER, at(30))
    assert lost.waiting is not None
    assert (lost.pace.rule, lost.opens_at, lost.waiting.reason) == (PaceRule.BREAKER, at(40), WaitingReason.BREAKER)
    assert [plan.opens_at for plan in await plan_hosts(pool, names, PACE, now=at(1000))] == [None] * 4


async def test_a_plan_and_the_operators_view_show_one_pace(pool: Pool) -> None:
    await _operate(pool, "a.test", delay_ms=500)
    await accept_events(pool, accepted(3), now=at(0))
    assert await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(1))
    [plan], view = await plan_hosts(pool, ["a.test"], PACE, now=at(2)), await read_host(pool, "a.test", PACE, now=at(2))
    assert view is not None and plan.pace == view.pace and plan.opens_at == view.next_slot_at
    assert plan.waiting is not None and (plan.waiting.reason, plan.waiting.until) == (WaitingReason.HOST_PACE, None)


async def test_the_smallest_files_come_first_and_what_does_not_fit_is_named(pool: Pool) -> None:
    for number, size in enumerate((300, 100, 200)):
        await keep_robots(pool, _file(f"http://{number}.test", "x" * size))
    asked = [f"http://{number}.test" for number in (0, 1, 2, 9)]
    files, omitted = await read_several(pool, asked, limit_bytes=300)
    assert [(file.origin, len(file.text)) for file in files] == [("http://1.test", 100), ("http://2.test", 200)]
    assert omitted == ["http://0.test"]
    files, omitted = await read_several(pool, asked, limit_bytes=600)
    assert len(files) == 3 and omitted == []
    assert await read_several(pool, [], limit_bytes=600) == ([], [])


async def test_one_call_answers_for_all(pool: Pool, events: Redis) -> None:
    await keep_robots(pool, _file("http://a.test", "User-agent: *\nDisallow: /x"))
    await keep_robots(pool, _file("https://b.test", availability=RobotsAvailability.UNREACHABLE))
    inquiry = {"hosts": ["a.test", "b.test"], "origins": ["http://a.test", "https://b.test", "http://b.test"]}
    async with open_caller(pool, events) as caller:
        sent = await caller.http.post(PATH, json=inquiry)
        strange = await caller.http.post(PATH, json=inquiry, headers={"Authorization": "Bearer other"})
    answer = PlanAnswer.model_validate(sent.json())
    assert [host.host for host in answer.hosts] == ["a.test", "b.test"]
    assert {file.origin: (file.availability, file.text) for file in answer.robots} == {
        "http://a.test": ("found", "User-agent: *\nDisallow: /x"), "https://b.test": ("unreachable", "")
    }
    assert all(file.expires_at - file.fetched_at == timedelta(seconds=60) for file in answer.robots)
    assert (answer.robots_omitted, strange.status_code) == ([], 401)


async def test_an_answer_stays_within_what_a_gateway_reads(pool: Pool, events: Redis) -> None:
    """The worst: every character an escape of six."""
    origins = [f"http://{number}.test" for number in range(4)]
    for origin in origins:
        await keep_robots(pool, _file(origin, "\x1f" * ROBOTS_LIMIT_BYTES))
    async with open_caller(pool, events) as caller:
        sent = await caller.http.post(PATH, json={"hosts": [], "origins": origins})
    answer = PlanAnswer.model_validate(sent.json())
    assert len(sent.content) < 8 * 1024 * 1024
    assert len(answer.robots) == PLAN_ROBOTS_LIMIT_BYTES // ROBOTS_LIMIT_BYTES == 1 and len(answer.robots_omitted) == 3


@pytest.mark.parametrize(
    "inquiry",
    [{"hosts": [""], "origins": []}, {"hosts": ["a"] * (PLAN_LIMIT + 1), "origins": []}, {"hosts": [], "origins": ["x"]}, {}],
)
async def test_an_inquiry_that_is_none_is_refused(pool: Pool, events: Redis, inquiry: dict[str, Any]) -> None:
    async with open_caller(pool, events) as caller:
        assert (await caller.http.post(PATH, json=inquiry)).status_code == 422
