"""Who sets the pace of a host and when it opens, as tables."""

from datetime import datetime
from typing import Any

import pytest
from common.contracts.fetches import (
    Budget,
    ErrorType,
    Evidence,
    FetchAttempted,
    FetchError,
    Outcome,
    OutcomeKind,
    ResponseHead,
    RobotsEvidence,
    RobotsVerdict,
)
from common.contracts.hosts import BreakerState, HostState, PaceRule
from common.contracts.views import Waiting, WaitingReason
from common.ids import new_fetch_id
from ledger_words import at
from store.hosts.changes import (
    RECENT_LIMIT,
    answered,
    asked_nobody,
    compared,
    did_not_reach,
    dispatched,
    ended,
    host_of,
    taken_back,
    told_crawl_delay,
    unreached,
    wiped,
)
from store.hosts.pace import (
    Host,
    Lane,
    Override,
    PaceSettings,
    breaker_state,
    delay_ms,
    free_lanes,
    lanes_out,
    max_in_flight,
    opens_at,
    rule_in_force,
    state_in_force,
    token_of,
    train_fetches,
)
from store.hosts.waiting import waiting_at

SETTINGS = PaceSettings(delay_ms=0, max_in_flight=4)
HOST = Host(host="a.test", last_started_at=at(-99), last_ended_at=at(-99))
ID = new_fetch_id()


def _attempted(
    status: int = 200,
    *,
    start: float = 0,
    end: float = 1,
    not_before: datetime | None = None,
    seq: int = 1,
    kind: OutcomeKind = OutcomeKind.FETCHED,
) -> FetchAttempted:
    response = ResponseHead(status=status, final_url="http://a.test/0") if kind is OutcomeKind.FETCHED else None
    outcome = Outcome(kind=kind, response=response, not_before=not_before, evidence=Evidence())
    return FetchAttempted(
        id=ID, dispatch_seq=seq, worker="w", started_at=at(start), finished_at=at(end), outcome=outcome
    )


def _lane(seconds: float, *, seq: int = 1) -> Lane:
    return Lane(token=token_of(ID, seq), ends_at=at(seconds))


def _override(**members: Any) -> Override:
    return Override(until=at(60), **members)


@pytest.mark.parametrize(
    ("changes", "rule", "until", "delay"),
    [
        ({}, PaceRule.DEFAULT, None, 1000),
        ({"crawl_delay_ms": 500}, PaceRule.DEFAULT, None, 1000),
        ({"crawl_delay_ms": 1500, "paused_until": at(0)}, PaceRule.ROBOTS, None, 1500),
        ({"crawl_delay_ms": 1500, "paused_until": at(9)}, PaceRule.RETRY_AFTER, at(9), 1500),
        ({"paused_until": at(9), "broken_until": at(20)}, PaceRule.BREAKER, at(20), 1000),
        ({"paused_until": at(30), "broken_until": at(20)}, PaceRule.RETRY_AFTER, at(30), 1000),
        ({"broken_until": at(3)}, PaceRule.BREAKER, None, 1000),
        ({"override": _override(delay_ms=2000)}, PaceRule.OPERATOR, at(60), 2000),
        ({"override": _override(delay_ms=0)}, PaceRule.OPERATOR, at(60), 0),
        ({"override": _override(delay_ms=0), "crawl_delay_ms": 700}, PaceRule.ROBOTS, None, 700),
        ({"override": _override(delay_ms=9, state=HostState.PAUSED)}, PaceRule.OPERATOR, at(60), 9),
        ({"override": Override(delay_ms=2000, until=at(4))}, PaceRule.DEFAULT, None, 1000),
    ],
)
def test_the_strictest_rule_holds_and_is_named(
    changes: dict[str, Any], rule: PaceRule, until: datetime | None, delay: int
) -> None:
    host = HOST._replace(**changes)
    settings = PaceSettings(delay_ms=1000, max_in_flight=4)
    assert rule_in_force(host, settings, now=at(5)) == (rule, until)
    assert delay_ms(host, settings, now=at(5)) == delay


@pytest.mark.parametrize(
    ("changes", "in_flight"),
    [
        ({}, 4),
        ({"crawl_delay_ms": 1}, 1),
        ({"broken_until": at(3)}, 1),
        ({"override": _override(max_in_flight=2)}, 2),
        ({"override": _override(max_in_flight=9)}, 9),
        ({"override": _override(max_in_flight=9, delay_ms=5)}, 1),
        ({"override": Override(max_in_flight=2, until=at(5))}, 4),
    ],
)
def test_how_many_may_be_out_at_once(changes: dict[str, Any], in_flight: int) -> None:
    assert max_in_flight(HOST._replace(**changes), SETTINGS, now=at(5)) == in_flight


@pytest.mark.parametrize(
    ("changes", "opens", "lanes", "waiting"),
    [
        ({}, 5, 4, None),
        ({"lanes": (_lane(9),)}, 5, 3, None),
        ({"lanes": (_lane(9), _lane(8), _lane(30), _lane(40))}, 8, 0, Waiting(reason=WaitingReason.HOST_PACE)),
        ({"lanes": (_lane(5), _lane(8), _lane(30), _lane(40))}, 5, 1, None),
        ({"next_slot_at": at(6)}, 6, 0, Waiting(reason=WaitingReason.HOST_PACE, until=at(6))),
        ({"paused_until": at(6)}, 6, 0, Waiting(reason=WaitingReason.HOST_PAUSED, until=at(6))),
        ({"broken_until": at(7), "failures": 5}, 7, 0, Waiting(reason=WaitingReason.BREAKER, until=at(7))),
        ({"broken_until": at(4), "failures": 5}, 5, 1, None),
        ({"broken_until": at(4), "failures": 5, "lanes": (_lane(9),)}, 9, 0, Waiting(reason=WaitingReason.BREAKER)),
        (
            {"override": _override(state=HostState.BANNED)},
            60,
            0,
            Waiting(reason=WaitingReason.HOST_PAUSED, until=at(60)),
        ),
        ({"override": _override(max_in_flight=1), "lanes": (_lane(9),)}, 9, 0, Waiting(reason=WaitingReason.HOST_PACE)),
    ],
)
def test_when_a_host_opens_and_what_waits_for_it(
    changes: dict[str, Any], opens: float, lanes: int, waiting: Waiting | None
) -> None:
    host = HOST._replace(**changes)
    assert opens_at(host, SETTINGS, now=at(5)) == at(opens)
    assert free_lanes(host, SETTINGS, now=at(5)) == lanes
    assert waiting_at(host, SETTINGS, now=at(5)) == waiting


def test_a_host_that_nobody_has_met_gets_one_attempt_first() -> None:
    new = Host(host="a.test")
    assert free_lanes(new, SETTINGS, now=at(0)) == 1
    met, _ = compared(new, _attempted(), paced_ms=0)
    assert free_lanes(met, SETTINGS, now=at(1)) == 4


def test_an_operator_lets_through_until_the_override_ends() -> None:
    host = HOST._replace(override=_override(state=HostState.PAUSED))
    assert state_in_force(host, now=at(59)) is HostState.PAUSED
    assert state_in_force(host, now=at(60)) is HostState.OPEN


@pytest.mark.parametrize(
    ("changes", "fetches"),
    [
        ({}, 1),
        ({"response_ms": 100}, 20),
        ({"response_ms": 1}, 100),
        ({"response_ms": 100, "crawl_delay_ms": 300}, 5),
        ({"response_ms": 100, "crawl_delay_ms": 30_000}, 1),
        ({"response_ms": 9000}, 1),
        ({"response_ms": 100, "slowdowns": 1}, 1),
        ({"response_ms": 100, "failures": 1}, 1),
    ],
)
def test_a_train_is_as_long_as_its_time_allows_and_one_fetch_where_there_is_trouble(
    changes: dict[str, Any], fetches: int
) -> None:
    assert train_fetches(HOST._replace(**changes), SETTINGS, now=at(0)) == fetches


def test_a_train_takes_a_lane_until_its_last_fetch_is_answered_or_it_is_lost() -> None:
    host = dispatched(HOST, SETTINGS, [_lane(40), _lane(50, seq=2)], now=at(0))
    assert len(lanes_out(host, now=at(39))) == 2 and lanes_out(host, now=at(40)) == (_lane(50, seq=2),)
    assert ended(host, _attempted(seq=3), SETTINGS, now=at(5)).lanes == host.lanes
    freed = ended(host, _attempted(), SETTINGS, now=at(5))
    assert (freed.lanes, freed.next_slot_at) == ((_lane(50, seq=2),), None)
    assert ended(host, _attempted(kind=OutcomeKind.SNOOZED), SETTINGS, now=at(5)).lanes == freed.lanes
    assert len(dispatched(host, SETTINGS, [_lane(90, seq=3)], now=at(45)).lanes) == 2, "a lost one is forgotten"


def test_a_delay_runs_from_the_end_of_an_attempt_and_holds_a_host_whose_train_is_lost() -> None:
    host = HOST._replace(crawl_delay_ms=2000)
    out = dispatched(host, SETTINGS, [_lane(40)], now=at(0))
    assert opens_at(out, SETTINGS, now=at(1)) == at(42)
    assert ended(out, _attempted(seq=2), SETTINGS, now=at(5)).lanes == out.lanes, "another dispatch opens nothing"
    assert opens_at(ended(out, _attempted(), SETTINGS, now=at(5)), SETTINGS, now=at(5)) == at(7)
    assert opens_at(ended(out, _attempted(kind=OutcomeKind.SNOOZED), SETTINGS, now=at(5)), SETTINGS, now=at(5)) == at(7)


@pytest.mark.parametrize(("delay", "was_tried", "is_closed"), [(None, True, False), (2000, True, True), (2000, False, False)])
def test_only_a_delay_keeps_a_host_closed_after_a_send_of_unknown_fate(
    delay: int | None, was_tried: bool, is_closed: bool
) -> None:
    out = dispatched(HOST._replace(crawl_delay_ms=delay), SETTINGS, [_lane(40)], now=at(0))
    back = taken_back(out, SETTINGS, frozenset({token_of(ID, 1)}), was_tried=was_tried, now=at(1))
    assert bool(back.lanes) is is_closed
    assert taken_back(out, SETTINGS, frozenset({token_of(ID, 2)}), was_tried=False, now=at(1)).lanes
    assert bool(wiped(out, SETTINGS, now=at(1)).lanes) is (delay is not None)


def test_the_usual_response_time_follows_the_latest_attempts_and_the_latest_are_kept() -> None:
    host = ended(HOST, _attempted(end=1), SETTINGS, now=at(1))
    assert host.response_ms == 1000
    assert ended(host, _attempted(end=2), SETTINGS, now=at(2)).response_ms == 1300
    for number in range(9):
        host = ended(host, _attempted(200 + number), SETTINGS, now=at(2))
    assert [recent.status for recent in host.recent] == [208, 207, 206, 205, 204] and RECENT_LIMIT == 5
    assert host.recent[0].outcome == "fetched" and host.recent[0].seconds == 1


def _unreached(error: ErrorType, exceeded: Budget | None = None) -> FetchAttempted:
    outcome = Outcome(
        kind=OutcomeKind.FAILED, error=FetchError(type=error, detail="d"), evidence=Evidence(exceeded=exceeded)
    )
    return FetchAttempted(id=ID, dispatch_seq=1, worker="w", started_at=at(0), finished_at=at(1), outcome=outcome)


@pytest.mark.parametrize(
    ("error", "exceeded", "is_so"),
    [
        (ErrorType.CONNECT, None, True),
        (ErrorType.DNS, None, True),
        (ErrorType.TIMEOUT, Budget.CONNECT, True),
        (ErrorType.TIMEOUT, Budget.FIRST_BYTE, False),
        (ErrorType.TLS, None, False),
        (ErrorType.PROTOCOL, None, False),
        (ErrorType.REFUSED_ADDRESS, None, False),
    ],
)
def test_which_failures_did_not_reach_the_host(error: ErrorType, exceeded: Budget | None, is_so: bool) -> None:
    assert did_not_reach(_unreached(error, exceeded)) is is_so


@pytest.mark.parametrize(("asked_at", "is_so"), [(None, True), (at(-9), True), (at(0), False)])
def test_what_asked_nobody_neither_counts_nor_costs_a_delay(asked_at: datetime | None, is_so: bool) -> None:
    robots = RobotsEvidence(verdict=RobotsVerdict.DISALLOWED, fetched_at=asked_at)
    error = FetchError(type=ErrorType.REFUSED_ROBOTS, detail="d")
    outcome = Outcome(kind=OutcomeKind.REFUSED, error=error, evidence=Evidence(robots=robots))
    refused = _attempted(seq=1).model_copy(update={"outcome": outcome})
    assert asked_nobody(refused) is is_so
    host = dispatched(HOST._replace(crawl_delay_ms=2000, last_ended_at=at(0)), SETTINGS, [_lane(40)], now=at(0))
    after = ended(host, refused, SETTINGS, now=at(1))
    assert after.lanes == () and opens_at(after, SETTINGS, now=at(1)) == (at(1) if is_so else at(3))
    assert compared(host, refused, paced_ms=2000)[1] is not is_so


def test_the_breaker_opens_after_so_many_rests_longer_each_time_and_closes_with_a_response() -> None:
    host, now = HOST, 0.0
    for _ in range(4):
        host = unreached(host, SETTINGS, now=at(now))
    assert breaker_state(host, now=at(now)) is BreakerState.CLOSED
    rests = []
    for _ in range(7):
        host = unreached(host, SETTINGS, now=at(now))
        assert host.broken_until is not None and breaker_state(host, now=at(now)) is BreakerState.OPEN
        assert unreached(host, SETTINGS, now=at(now)) == host, "those that were out before count no more"
        rests.append((host.broken_until - at(now)).total_seconds())
        now += rests[-1]
        assert breaker_state(host, now=at(now)) is BreakerState.HALF_OPEN
    assert rests == [10, 20, 40, 80, 160, 300, 300]
    closed = answered(host, _attempted(404, start=now, end=now), now=at(now))
    assert (breaker_state(closed, now=at(now)), closed.failures) == (BreakerState.CLOSED, 0)


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
    assert told_crawl_delay(HOST._replace(crawl_delay_ms=700), robots).crawl_delay_ms == milliseconds


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
