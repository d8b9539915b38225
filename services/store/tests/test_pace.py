"""Who sets the pace of a host, as tables."""

from dataclasses import replace
from datetime import datetime

import pytest
from common.contracts.fetches import Evidence, FetchAttempted, Outcome, OutcomeKind, ResponseHead, RobotsEvidence, RobotsVerdict
from common.ids import new_fetch_id
from ledger_words import at
from store.hosts.pace import (
    Host,
    PaceSettings,
    PaceRule,
    answered,
    compared,
    delay_ms,
    ended,
    held,
    host_of,
    max_in_flight,
    rule_in_force,
    told_crawl_delay,
)

DEFAULTS = PaceSettings(delay_ms=0, max_in_flight=4)
HOST = Host(host="a.test")
ID = new_fetch_id()


def _attempted(
    status: int = 200, *, start: float = 0, end: float = 1, not_before: datetime | None = None, seq: int = 1
) -> FetchAttempted:
    response = ResponseHead(status=status, final_url="http://a.test/0")
    outcome = Outcome(kind=OutcomeKind.FETCHED, response=response, not_before=not_before, evidence=Evidence())
    return FetchAttempted(
        id=ID, dispatch_seq=seq, worker="w", started_at=at(start), finished_at=at(end), outcome=outcome
    )


@pytest.mark.parametrize(
    ("crawl_delay_ms", "paused_until", "rule"),
    [
        (None, None, PaceRule.DEFAULT),
        (500, None, PaceRule.DEFAULT),
        (1500, at(0), PaceRule.ROBOTS),
        (1500, at(9), PaceRule.RETRY_AFTER),
    ],
)
def test_the_strictest_rule_holds_and_is_named(
    crawl_delay_ms: int | None, paused_until: datetime | None, rule: PaceRule
) -> None:
    host = replace(HOST, crawl_delay_ms=crawl_delay_ms, paused_until=paused_until)
    defaults = PaceSettings(delay_ms=1000, max_in_flight=4)
    assert rule_in_force(host, defaults, now=at(5)) is rule
    assert delay_ms(host, defaults) == max(1000, crawl_delay_ms or 0)
    assert host.is_open(at(5)) is (rule is not PaceRule.RETRY_AFTER)


def test_a_host_with_a_delay_is_held_by_one() -> None:
    host = replace(HOST, crawl_delay_ms=2000)
    assert (max_in_flight(HOST, DEFAULTS), max_in_flight(host, DEFAULTS)) == (4, 1)
    holding = held(host, DEFAULTS, fetch_id=ID, dispatch_seq=1, lease_ends_at=at(40))
    assert holding.next_slot_at == at(42)
    assert ended(holding, _attempted(seq=2), DEFAULTS, now=at(5)).next_slot_at == at(42)
    freed = ended(holding, _attempted(), DEFAULTS, now=at(5))
    assert (freed.next_slot_at, freed.holder_id) == (at(7), None)


@pytest.mark.parametrize(
    ("verdict", "seconds", "milliseconds"),
    [
        (RobotsVerdict.ALLOWED, 2.5, 2500),
        (RobotsVerdict.DISALLOWED, 1, 1000),
        (RobotsVerdict.ALLOWED, 10**6, 300_000),
        (RobotsVerdict.ALLOWED, None, None),
        (RobotsVerdict.UNAVAILABLE, None, None),
        (RobotsVerdict.UNREACHABLE, None, 700),
        (RobotsVerdict.IGNORED, None, 700),
    ],
)
def test_what_robots_asks_for_holds_until_robots_says_otherwise(
    verdict: RobotsVerdict, seconds: float | None, milliseconds: int | None
) -> None:
    robots = RobotsEvidence(verdict=verdict, crawl_delay_seconds=seconds)
    assert told_crawl_delay(replace(HOST, crawl_delay_ms=700), robots).crawl_delay_ms == milliseconds


def test_pauses_double_up_to_five_minutes_and_recover_step_by_step() -> None:
    host, now, pauses = HOST, 0.0, []
    for _ in range(11):
        host = answered(host, _attempted(503, start=now, end=now), now=at(now))
        assert host.paused_until is not None
        pauses.append((host.paused_until - at(now)).total_seconds())
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    for _ in range(2):
        host = answered(host, _attempted(200, start=now, end=now), now=at(now))
    host = answered(host, _attempted(429, start=now, end=now), now=at(now))
    assert host.slowdowns == 9


def test_attempts_that_were_out_when_a_pause_began_neither_lengthen_nor_end_it() -> None:
    host = answered(HOST, _attempted(429, start=0), now=at(2))
    assert answered(host, _attempted(429, start=1), now=at(2.5)) == host
    assert answered(host, _attempted(200, start=1), now=at(2.5)) == host
    assert answered(host, _attempted(429, start=1, not_before=at(60)), now=at(2.5)).paused_until == at(60)


def test_an_origin_cannot_pause_its_host_for_longer_than_a_day() -> None:
    assert answered(HOST, _attempted(503, not_before=at(10**7)), now=at(0)).paused_until == at(86_400)


@pytest.mark.parametrize(("gap", "paced_ms", "is_violation"), [(2, 2000, False), (1.99, 2000, True), (-1, 0, False)])
def test_attempts_too_close_are_violations_in_whatever_order_they_are_told(
    gap: float, paced_ms: int, is_violation: bool
) -> None:
    first, second = _attempted(start=0, end=1), _attempted(start=1 + gap, end=9)
    host, _ = compared(HOST, first, paced_ms=paced_ms)
    assert compared(host, second, paced_ms=paced_ms)[1] is is_violation
    if gap > 0:
        host, _ = compared(HOST, second, paced_ms=paced_ms)
        late, found = compared(host, first, paced_ms=0)
        assert found is is_violation and late.last_started_at == second.started_at


def test_the_host_of_a_url_names_a_port_that_is_not_standard() -> None:
    assert [host_of(url) for url in ("http://a.test/x", "https://a.test:8443/")] == ["a.test", "a.test:8443"]
    assert [host_of(url) for url in ("http://[::1", "", "http://a\0.test/", f"http://{'a' * 301}/")] == [""] * 4
