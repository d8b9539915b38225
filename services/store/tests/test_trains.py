"""Trains, priority and snoozing in the claim, over a real Postgres."""

from datetime import datetime
from uuid import UUID

import pytest
from common.contracts.fetches import ErrorType, Evidence, Hop, Outcome, OutcomeKind
from ledger_words import accept_events, accepted, at, attempted, failed, fetched
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Claimed, ClaimLimits, Lease, claim, release
from store.fetches.record import Attempt, Recorded, record
from store.hosts.pace import PaceSettings

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=9)
PACE = PaceSettings(delay_ms=0, max_in_flight=2, train_seconds=2, train_fetches=50)
SNOOZED = Outcome(kind=OutcomeKind.SNOOZED)


async def _queue(pool: Pool, fetches: int = 1, *, host: str = "a.test", seconds: float = 0, **request: object) -> list[UUID]:
    event = accepted(fetches, host=host, **request)
    await accept_events(pool, event, now=at(seconds))
    return [fetch.id for fetch in event.data.fetches]


async def _claim(
    pool: Pool,
    *,
    seconds: float,
    limit: int = 256,
    slots: int = 1000,
    leased: int = 1000,
    pace: PaceSettings = PACE,
    trains: bool = True,
) -> list[list[Claimed]]:
    limits = ClaimLimits(claim_fetches=limit, slots=slots, leased_fetches=leased)
    return await claim(pool, limits=limits, lease=LEASE, pace=pace, trains=trains, now=at(seconds))


async def _record(
    pool: Pool, claimed: Claimed, outcome: Outcome, *, start: float, end: float, pace: PaceSettings = PACE
) -> Recorded:
    event = attempted(claimed.command.id, outcome, dispatch_seq=claimed.command.dispatch_seq)
    attempts = [Attempt(attempted=event.model_copy(update={"started_at": at(start), "finished_at": at(end)}))]
    return await in_transaction(
        pool, lambda c: record(c, attempts, source="store/t", pace=pace, now=at(end), jitter=lambda: 1.0)
    )


async def _known(pool: Pool, *, host: str = "a.test", took: float = 0.1, seconds: float = 0, pace: PaceSettings = PACE) -> None:
    """Let the store learn how fast a host answers."""
    await _queue(pool, host=host, seconds=seconds)
    ((first,),) = await _claim(pool, seconds=seconds, pace=pace)
    await _record(pool, first, fetched(), start=seconds, end=seconds + took, pace=pace)


def _ids(train: list[Claimed]) -> list[UUID]:
    return [fetch.command.id for fetch in train]


async def test_a_host_whose_speed_is_unknown_gets_single_fetches(pool: Pool) -> None:
    await _queue(pool, 9)
    assert [len(train) for train in await _claim(pool, seconds=0)] == [1, 1]


async def test_the_trains_of_a_host_take_turns_at_its_line_and_the_last_of_each_holds_a_slot(pool: Pool) -> None:
    await _known(pool)
    ids = await _queue(pool, 50, seconds=1)
    trains = await _claim(pool, seconds=2)
    assert [_ids(train) for train in trains] == [ids[0:40:2], ids[1:40:2]], "20 fit into the time of a train"
    for train in trains:
        assert {fetch.command.train for fetch in train} == {train[0].command.train}
        told = train[0].command.train
        assert told is not None and (told.id, told.seconds, told.delay_seconds) == (train[-1].command.id, 3, 0)
        assert {fetch.command.lease_ends_at for fetch in train} == {at(2 + 30 + 10 + 3)}
    rows = await fetch_rows(pool, "SELECT id FROM fetch_queue WHERE state = 'running' AND holds_slot")
    assert {row["id"] for row in rows} == {train[-1].command.id for train in trains}


async def test_two_that_are_due_are_two_trains(pool: Pool) -> None:
    await _known(pool)
    await _queue(pool, 2, seconds=1)
    assert [len(train) for train in await _claim(pool, seconds=2)] == [1, 1]


@pytest.mark.parametrize(
    ("took", "due", "sizes"),
    [(0.005, 16, [4] * 4), (0.04, 16, [2] * 8), (0.1, 16, [1] * 16), (0.005, 3, [1] * 3), (0.005, 100, [17] * 4 + [16] * 2)],
    ids=["fast", "not so fast", "slow", "fast, with few that are due", "fast, with many that are due"],
)
async def test_a_host_that_answers_fast_gets_no_more_trains_than_it_takes(
    pool: Pool, took: float, due: int, sizes: list[int]
) -> None:
    pace = PaceSettings(delay_ms=0, max_in_flight=16, train_seconds=2, train_fetches=50)
    await _known(pool, took=took, pace=pace)
    await _queue(pool, due, seconds=1)
    assert [len(train) for train in await _claim(pool, seconds=2, limit=max(16, due), pace=pace)] == sizes


async def test_without_workers_that_know_trains_each_fetch_travels_alone(pool: Pool) -> None:
    await _known(pool)
    await _queue(pool, 9, seconds=1)
    assert [len(train) for train in await _claim(pool, seconds=2, trains=False)] == [1, 1]


async def test_many_hosts_share_a_claim(pool: Pool) -> None:
    for name in "abcd":
        await _known(pool, host=f"{name}.test")
        await _queue(pool, 30, host=f"{name}.test", seconds=1)
    trains = await _claim(pool, seconds=2, limit=16)
    assert [len(train) for train in trains] == [2] * 8, "two trains of two for each of four"


@pytest.mark.parametrize(("slots", "leased", "trains"), [(5, 1000, [4, 4, 4, 4, 4]), (1000, 3, [1, 1, 1])])
async def test_a_claim_keeps_within_the_slots_and_within_what_may_be_out(
    pool: Pool, slots: int, leased: int, trains: list[int]
) -> None:
    for name in "abcd":
        await _known(pool, host=f"{name}.test")
        await _queue(pool, 30, host=f"{name}.test", seconds=1)
    claimed = await _claim(pool, seconds=2, limit=20, slots=slots, leased=leased)
    assert [len(train) for train in claimed] == trains
    assert await _claim(pool, seconds=2, limit=20, slots=slots, leased=leased) == []


async def test_a_lane_is_free_when_the_last_of_its_train_is_answered(pool: Pool) -> None:
    await _known(pool)
    await _queue(pool, 60, seconds=1)
    first, second = await _claim(pool, seconds=2)
    for fetch in first[:-1]:
        await _record(pool, fetch, fetched(), start=2.1, end=2.2)
    assert await _claim(pool, seconds=3) == []
    await _record(pool, first[-1], fetched(), start=2.2, end=2.3)
    (third,) = await _claim(pool, seconds=3)
    assert not set(_ids(third)) & set(_ids(first) + _ids(second))


async def test_a_train_of_a_host_with_a_delay_holds_it_and_is_spaced_by_its_worker(pool: Pool) -> None:
    pace = PaceSettings(delay_ms=400, max_in_flight=4, train_seconds=2)
    await _known(pool, pace=pace)
    await _queue(pool, 9, seconds=1)
    (train,) = await _claim(pool, seconds=2, pace=pace)
    told = train[0].command.train
    assert len(train) == 4 and told is not None and told.delay_seconds == 0.4
    for number, fetch in enumerate(train):
        start = 2 + number * 0.5
        recorded = await _record(pool, fetch, fetched(), start=start, end=start + 0.1, pace=pace)
        assert recorded.violations == 0
    assert await _claim(pool, seconds=3.9, pace=pace) == []
    assert [len(train) for train in await _claim(pool, seconds=4.1, pace=pace)] == [4]


async def test_what_is_snoozed_is_due_again_and_nothing_is_counted(pool: Pool) -> None:
    await _known(pool)
    once, twice = await _queue(pool, 2, seconds=1, method="POST")
    claimed = {fetch.command.id: fetch for train in await _claim(pool, seconds=2) for fetch in train}
    recorded = await _record(pool, claimed[once], SNOOZED, start=3, end=3)
    assert (recorded.snoozed, recorded.attempts.total(), recorded.retries) == (1, 0, 0)
    assert await fetch_rows(pool, "SELECT 1 FROM attempts WHERE fetch_id = $1", once) == []
    ((again,),) = await _claim(pool, seconds=3)
    assert (again.command.id, again.command.dispatch_seq, again.is_redelivery) == (once, 2, False)
    late = await _record(pool, claimed[once], SNOOZED, start=3, end=4)
    assert late.snoozed == 1 and await _claim(pool, seconds=4) == [], "late news change nothing"
    await _record(pool, claimed[twice], fetched(), start=3, end=4)


async def test_a_slowdown_stops_trains_until_it_is_over(pool: Pool) -> None:
    await _known(pool)
    await _queue(pool, 50, seconds=1)
    first, second = await _claim(pool, seconds=2)
    asked = fetched(429, is_retryable=True).model_copy(update={"not_before": at(8)})
    await _record(pool, first[0], asked, start=2, end=3)
    for fetch in (*first[1:], *second):
        await _record(pool, fetch, SNOOZED, start=3, end=3)
    assert await _claim(pool, seconds=7.9) == []
    assert [len(train) for train in await _claim(pool, seconds=8)] == [1, 1], "careful at first"


async def test_a_dead_host_is_left_alone_then_probed_by_one(pool: Pool) -> None:
    pace = PaceSettings(delay_ms=0, max_in_flight=4, breaker_failures=3, breaker_seconds=10)
    await _queue(pool, 9)
    trains = await _claim(pool, seconds=0, pace=pace)
    for (fetch,) in trains:
        await _record(pool, fetch, failed(is_retryable=False), start=0, end=1, pace=pace)
    assert await _claim(pool, seconds=10.9, pace=pace) == []
    ((probe,),) = await _claim(pool, seconds=11, pace=pace)
    assert await _claim(pool, seconds=12, pace=pace) == []
    await _record(pool, probe, fetched(), start=11, end=12, pace=pace)
    assert len(await _claim(pool, seconds=12, pace=pace)) == 4


async def test_a_host_that_was_reached_is_probed_no_longer_whatever_came_of_it(pool: Pool) -> None:
    pace = PaceSettings(delay_ms=0, max_in_flight=4, breaker_failures=1, breaker_seconds=10)
    await _queue(pool, 9)
    trains = await _claim(pool, seconds=0, pace=pace)
    await _record(pool, trains[0][0], failed(is_retryable=False), start=0, end=1, pace=pace)
    for (fetch,) in trains[1:]:
        await _record(pool, fetch, SNOOZED, start=1, end=1, pace=pace)
    ((probe,),) = await _claim(pool, seconds=11, pace=pace)
    hops = Evidence(hops=(Hop(url="http://a.test/1", verdict="allow"),))
    slow = failed(error=ErrorType.TIMEOUT, is_retryable=False).model_copy(update={"evidence": hops})
    await _record(pool, probe, slow, start=11, end=12, pace=pace)
    assert len(await _claim(pool, seconds=12, pace=pace)) == 4


async def test_a_worker_that_holds_a_host_back_is_not_asked_again_and_again(pool: Pool) -> None:
    """It heard of a pause that an operator lifted here."""
    await _queue(pool, 9)
    ((first,), (second,)) = await _claim(pool, seconds=0)
    held = SNOOZED.model_copy(update={"not_before": at(30)})
    for fetch in (first, second):
        await _record(pool, fetch, held, start=1, end=1)
    assert await _claim(pool, seconds=29) == []
    assert len(await _claim(pool, seconds=30)) == 2


async def test_the_first_in_line_goes_first_and_waiting_makes_up_for_priority(pool: Pool) -> None:
    pace = PaceSettings(delay_ms=0, max_in_flight=1, train_fetches=1)
    (low,) = await _queue(pool, priority=0)
    (normal,) = await _queue(pool, seconds=60)
    (high,) = await _queue(pool, seconds=120, priority=9)
    late = await _queue(pool, 3, seconds=9 * 600 + 1, priority=9)
    order = []
    for turn in range(6):
        ((fetch,),) = await _claim(pool, seconds=10_000 + turn, pace=pace)
        order.append(fetch.command.id)
        await _record(pool, fetch, fetched(404), start=10_000 + turn, end=10_000 + turn + 0.5, pace=pace)
    assert order == [high, normal, low, *late]


async def test_what_is_due_later_joins_the_line_at_its_place_and_holds_nobody_up(pool: Pool) -> None:
    pace = PaceSettings(delay_ms=0, max_in_flight=1)
    (later,) = await _queue(pool, priority=9, delay_seconds=100)
    (dated,) = await _queue(pool, priority=9, not_before=at(50))
    (now,) = await _queue(pool, seconds=1)
    for seconds, expected in ((2, now), (50, dated), (100, later)):
        ((fetch,),) = await _claim(pool, seconds=seconds, pace=pace)
        assert fetch.command.id == expected
        await _record(pool, fetch, fetched(), start=seconds, end=seconds + 0.5, pace=pace)
        assert await _claim(pool, seconds=seconds + 1, pace=pace) == []


async def test_what_has_expired_is_not_given_out(pool: Pool) -> None:
    await _queue(pool, expires_at=at(10))
    (lasting,) = await _queue(pool, expires_at=at(11))
    (delayed,) = await _queue(pool, delay_seconds=5, expires_at=at(10))
    assert [_ids(train) for train in await _claim(pool, seconds=10)] == [[lasting]]
    assert delayed != lasting


async def test_a_train_that_did_not_leave_is_taken_back_whole(pool: Pool) -> None:
    await _known(pool)
    await _queue(pool, 10, seconds=1)
    trains = await _claim(pool, seconds=2)
    await release(pool, tried=[], untried=[fetch.command for fetch in trains[0]], pace=PACE, now=at(3))
    (again,) = await _claim(pool, seconds=3)
    assert _ids(again) == _ids(trains[0])


async def _running(pool: Pool, now: datetime) -> int:
    rows = await fetch_rows(pool, "SELECT count(*) AS n FROM fetch_queue WHERE state = 'running' AND run_at > $1", now)
    return int(rows[0]["n"])


async def test_a_lost_train_is_given_out_again_when_its_leases_end(pool: Pool) -> None:
    await _known(pool)
    await _queue(pool, 10, seconds=1)
    trains = await _claim(pool, seconds=2)
    assert await _running(pool, at(44)) == 10 and await _claim(pool, seconds=44) == []
    again = await _claim(pool, seconds=45)
    assert sorted(map(str, _ids(sum(again, [])))) == sorted(map(str, _ids(sum(trains, []))))
