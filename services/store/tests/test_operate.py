"""What operators see of hosts and change about them: over the internal API, with the row, the claim and the log behind it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from api_words import Caller, open_caller
from common.contracts.hosts import BreakerState, HostChange, HostPage, HostState, HostView, PaceRule
from ledger_words import PACE, accept_events, accepted, at, claim_each
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.dispatch.claim import ClaimLimits, Lease, claim
from store.hosts import view as view_module
from store.hosts.operate import changed
from store.hosts.pace import Host, Override
from store.hosts.view import read_host, read_hosts

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=9)
PATH = "/internal/v1/hosts"


async def _change(caller: Caller, host: str = "a.test", *, actor: str = "op", **change: Any) -> HostView:
    answer = await caller.http.patch(f"{PATH}/one", params={"host": host}, json={"actor": actor, "change": change})
    assert answer.status_code == 200, answer.text
    return HostView.model_validate(answer.json())


async def _override(pool: Pool, host: str = "a.test") -> tuple[Any, ...]:
    columns = "override_state, override_delay_ms, override_max_in_flight, override_reason, override_by, override_until IS NULL"
    return tuple((await fetch_rows(pool, f"SELECT {columns} FROM hosts WHERE host = $1", host))[0])  # noqa: S608


async def test_what_is_absent_stays_and_null_takes_a_member_back(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        view = await _change(caller, delay_ms=500, max_in_flight=3, reason="slow")
        assert (view.pace.rule, view.pace.delay_ms, view.pace.max_in_flight) == (PaceRule.OPERATOR, 500, 1)
        await _change(caller, state="paused", actor="other")
        assert await _override(pool) == ("paused", 500, 3, "slow", "other", False)
        await _change(caller, delay_ms=None)
        assert await _override(pool) == ("paused", None, 3, "slow", "op", False)
        await _change(caller, state=None, reason=None)
        assert await _override(pool) == (None, None, 3, None, "op", False)
        view = await _change(caller, max_in_flight=None)
        assert await _override(pool) == (None, None, None, None, None, True)
        assert (view.override, view.pace.rule, view.state) == (None, PaceRule.DEFAULT, HostState.OPEN)
        empty = {"actor": "op", "change": {"reason": "x"}}
        nothing = await caller.http.patch(f"{PATH}/one", params={"host": "a.test"}, json=empty)
        assert nothing.status_code == 422


async def test_a_paused_host_waits_until_it_is_opened_and_nobody_polls_for_it(pool: Pool, events: Redis) -> None:
    await accept_events(pool, accepted(2), now=None)
    async with open_caller(pool, events) as caller:
        paused = await _change(caller, state="paused", expires_in_seconds=600)
        assert paused.state is HostState.PAUSED and paused.override is not None and paused.backlog == 2
        assert paused.next_slot_at == paused.pace.until == paused.override.expires_at
        assert await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=None) == []
        row = (await fetch_rows(pool, "SELECT look_at = override_until AS is_then FROM hosts"))[0]
        assert row["is_then"], "the claim looks when the pause ends by itself"
        opened = await _change(caller, state="open")
        assert (opened.state, opened.override, opened.next_slot_at) == (HostState.OPEN, None, None)
        assert caller.woken == ["dispatcher"] * 2
    assert len(await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=None)) == 2


async def test_to_open_a_host_forgets_what_it_asked_for_and_that_it_was_lost(pool: Pool, events: Redis) -> None:
    await accept_events(pool, accepted(1), now=None)
    await fetch_rows(
        pool,
        "UPDATE hosts SET paused_until = now() + interval '1 hour', broken_until = now() + interval '1 hour',"
        " look_at = 'infinity', failures = 7, slowdowns = 3, crawl_delay_ms = 2000, next_slot_at = now() - interval '1 second'",
    )
    async with open_caller(pool, events) as caller:
        before = await caller.http.get(f"{PATH}/one", params={"host": "a.test"})
        view = HostView.model_validate(before.json())
        assert (view.breaker.state, view.breaker.failures) == (BreakerState.OPEN, 7)
        assert view.next_slot_at is not None and view.crawl_delay_seconds == 2
        view = await _change(caller, state="open")
        assert (view.breaker.state, view.breaker.failures, view.next_slot_at) == (BreakerState.CLOSED, 0, None)
        assert view.pace.rule is PaceRule.ROBOTS, "what robots.txt asks for stands"
    assert len(await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=None)) == 1


async def test_each_change_is_in_the_operators_log_with_before_and_after(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        await _change(caller, state="banned", reason="why\0")
        await _change(caller, state="open", actor="other")
    rows = await fetch_rows(pool, "SELECT actor, action, subject, detail FROM operator_log ORDER BY id")
    assert [(row["actor"], row["action"], row["subject"]) for row in rows] == [
        ("op", "host.change", "a.test"),
        ("other", "host.change", "a.test"),
    ]
    first, second = (json.loads(row["detail"]) for row in rows)
    assert first["before"]["override"] is None and first["after"]["override"]["state"] == "banned"
    assert first["after"]["override"]["reason"] == "why" and first["change"]["state"] == "banned"
    assert second["before"]["override"]["state"] == "banned" and second["after"]["override"] is None


async def test_a_change_that_cannot_be_written_leaves_no_trace(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        operation = {"actor": "op", "change": {"state": "banned"}}
        answer = await caller.http.patch(f"{PATH}/one", params={"host": "a\0b"}, json=operation)
        assert answer.status_code == 422
    assert await fetch_rows(pool, "SELECT 1 FROM operator_log") == await fetch_rows(pool, "SELECT 1 FROM hosts") == []


def test_what_had_ended_is_not_brought_back_by_a_change() -> None:
    host = Host(host="a.test", override=Override(state=HostState.BANNED, delay_ms=9, until=at(10), reason="old"))
    later = changed(host, HostChange(max_in_flight=2, expires_in_seconds=60), actor="op", now=at(10))
    assert later.override == Override(max_in_flight=2, actor="op", until=at(70))
    sooner = changed(host, HostChange(max_in_flight=2, expires_in_seconds=60), actor="op", now=at(9))
    assert sooner.override == Override(
        state=HostState.BANNED, delay_ms=9, max_in_flight=2, reason="old", actor="op", until=at(69)
    )


async def test_a_host_shows_its_load_and_its_latest_attempts(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await accept_events(pool, accepted(10), now=at(0))
    limits = ClaimLimits(claim_fetches=3, slots=3, leased_fetches=100)
    assert len(await claim(pool, limits=limits, lease=LEASE, pace=replace(PACE, max_in_flight=3), now=at(0))) == 3
    recent = [{"at": at(n).isoformat(), "outcome": "failed", "status": None, "error": "dns", "seconds": 0.5} for n in (5, 4)]
    await fetch_rows(pool, "UPDATE hosts SET recent = $1", json.dumps(recent))
    view = await read_host(pool, "a.test", PACE, now=at(1))
    assert view is not None and (view.backlog, view.in_flight, view.counted_up_to) == (7, 3, 10_000)
    assert [attempt.at for attempt in view.recent] == [at(5), at(4)]
    await fetch_rows(pool, "DELETE FROM fetch_queue WHERE state = 'running'")  # as a cancel does: the lanes are still out
    view = await read_host(pool, "a.test", PACE, now=at(1))
    assert view is not None and (view.backlog, view.in_flight) == (7, 3)
    monkeypatch.setattr(view_module, "COUNTED_OF_EACH", 4)
    (listed,) = (await read_hosts(pool, PACE, limit=5, after="", state=None, now=at(1))).items
    assert (listed.backlog, listed.counted_up_to) == (4, 4), "no list counts all that there is"


async def test_hosts_are_listed_by_name_and_by_state(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        for number in range(7):
            await accept_events(pool, accepted(1, host=f"h{number}.test"), now=None)
        await _change(caller, "h1.test", state="paused")
        await _change(caller, "h3.test", state="paused")
        await _change(caller, "h4.test", state="banned")
        await _change(caller, "h5.test", delay_ms=100)
        await fetch_rows(pool, "UPDATE hosts SET override_until = now() WHERE host = 'h3.test'")

        async def listed(**query: Any) -> tuple[list[str], str | None]:
            page = HostPage.model_validate((await caller.http.get(PATH, params=query)).json())
            return [view.host[:2] for view in page.items], page.next_cursor

        assert await listed(limit=3) == (["h0", "h1", "h2"], "h2.test")
        assert await listed(limit=3, after="h2.test") == (["h3", "h4", "h5"], "h5.test")
        assert await listed(limit=3, after="h5.test") == (["h6"], None)
        assert await listed(state="paused") == (["h1"], None)
        assert await listed(state="banned") == (["h4"], None)
        assert await listed(state="open", limit=4) == (["h0", "h2", "h3", "h5"], "h5.test")
        assert (await caller.http.get(f"{PATH}/one", params={"host": "none.test"})).status_code == 404
        for path in (PATH, f"{PATH}/one?host=h1.test"):
            assert (await caller.http.get(path, headers={"Authorization": ""})).status_code == 401
