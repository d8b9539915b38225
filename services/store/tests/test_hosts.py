"""Hosts in the claim over a real Postgres: fair, never more than the pace allows, and no slot lost whoever dies."""

import asyncio
import random
from datetime import datetime
from uuid import UUID

import pytest
from common.contracts.fetches import Evidence, Outcome, RobotsEvidence, RobotsVerdict
from common.contracts.views import Waiting, WaitingReason
from common.ids import new_fetch_id
from ledger_words import MEET, accept_events, accepted, at, attempted, claim_each, failed, fetched
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Claimed, Lease, end_leases, next_look_seconds, release
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, Recorded, record
from store.hosts.pace import PaceSettings
from store.maintenance.host_keeper import HostKeeper
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=9)
FREE = PaceSettings(delay_ms=0, max_in_flight=4)
SLOW = PaceSettings(delay_ms=2000, max_in_flight=4)
LEASE_SECONDS = 40
"""30 s of timeout and the margin."""
SLOW_LEASE_SECONDS = LEASE_SECONDS + 4
"""And two waits of an attempt for the delay of its own host."""


async def _queue(pool: Pool, fetches: int = 1, *, host: str = "a.test", seconds: float = 0) -> list[UUID]:
    event = accepted(fetches, host=host)
    await accept_events(pool, event, now=at(seconds))
    return [fetch.id for fetch in event.data.fetches]


async def _claim(pool: Pool, *, seconds: float, pace: PaceSettings = FREE, limit: int = 256) -> list[Claimed]:
    return await claim_each(pool, limit=limit, leased_limit=1000, lease=LEASE, pace=pace, now=at(seconds))


async def _record(
    pool: Pool, claimed: Claimed, outcome: Outcome, *, pace: PaceSettings = FREE, start: float, end: float
) -> Recorded:
    event = attempted(claimed.command.id, outcome, dispatch_seq=claimed.command.dispatch_seq)
    attempts = [Attempt(attempted=event.model_copy(update={"started_at": at(start), "finished_at": at(end)}))]
    return await in_transaction(
        pool, lambda c: record(c, attempts, source="store/t", pace=pace, now=at(end), jitter=lambda: 1.0)
    )


async def _waiting(pool: Pool, fetch_id: UUID, *, seconds: float) -> Waiting | None:
    view = await read_fetch(pool, fetch_id, has_fetcher=True, pace=FREE, now=at(seconds))
    assert view is not None
    return view.waiting


async def test_a_thousand_on_one_host_do_not_hold_back_a_hundred_on_others(pool: Pool) -> None:
    await _queue(pool, 1000)
    for number in range(100):
        await _queue(pool, host=f"h{number}.test", seconds=1)
    hosts = [fetch.command.request.url.split("/")[2] for fetch in await _claim(pool, seconds=2)]
    assert len(hosts) == 104 and hosts.count("a.test") == 4
    assert await _claim(pool, seconds=2) == []
    assert await next_look_seconds(pool, now=at(2)) == LEASE_SECONDS


async def test_hosts_that_did_not_get_their_turn_come_first_the_next_time(pool: Pool) -> None:
    for name in "abcd":
        await _queue(pool, 10, host=f"{name}.test")
    pace = PaceSettings(delay_ms=0, max_in_flight=2)
    turns = [
        sorted({fetch.command.request.url[7] for fetch in await _claim(pool, seconds=seconds, pace=pace, limit=4)})
        for seconds in (1, 2, 3)
    ]
    assert turns == [["a", "b"], ["c", "d"], []]


async def test_dispatchers_at_once_never_exceed_what_a_host_allows(pool: Pool) -> None:
    for name in "abcdefgh":
        await _queue(pool, 50, host=f"{name}.test")
    for seconds in range(5):
        parts = await asyncio.gather(*(_claim(pool, seconds=seconds, limit=3) for _ in range(6)))
        assert len({fetch.command.id for part in parts for fetch in part}) == sum(map(len, parts))
        assert max((await _leased(pool, at(seconds))).values()) <= 4
    await _claim(pool, seconds=5)  # what dispatchers skipped because another held the host
    assert list((await _leased(pool, at(5))).values()) == [4] * 8


async def test_a_delay_runs_from_the_end_of_one_attempt_to_the_next_dispatch(pool: Pool) -> None:
    await _queue(pool, 3)
    (first,) = await _claim(pool, seconds=0, pace=SLOW)
    assert await _claim(pool, seconds=5, pace=SLOW) == []
    await _record(pool, first, fetched(), pace=SLOW, start=0, end=6)
    assert await _claim(pool, seconds=7.9, pace=SLOW) == []
    assert await next_look_seconds(pool, now=at(7.5)) == 0.5
    (second,) = await _claim(pool, seconds=8, pace=SLOW)
    recorded = await _record(pool, second, fetched(), pace=SLOW, start=8, end=9)
    assert recorded.violations == 0


async def test_a_lost_attempt_holds_a_slow_host_until_its_lease_and_the_delay_are_over(pool: Pool) -> None:
    await _queue(pool, 2)
    (lost,) = await _claim(pool, seconds=0, pace=SLOW)
    assert await _claim(pool, seconds=SLOW_LEASE_SECONDS + 1.9, pace=SLOW) == []
    (again,) = await _claim(pool, seconds=SLOW_LEASE_SECONDS + 2, pace=SLOW)
    await _record(pool, lost, failed(), pace=SLOW, start=0, end=SLOW_LEASE_SECONDS + 3)  # late news open nothing
    assert await _claim(pool, seconds=SLOW_LEASE_SECONDS + 9, pace=SLOW) == []
    await _record(pool, again, fetched(), pace=SLOW, start=SLOW_LEASE_SECONDS + 2, end=SLOW_LEASE_SECONDS + 10)
    assert len(await _claim(pool, seconds=SLOW_LEASE_SECONDS + 12, pace=SLOW)) == 1


async def test_a_lost_attempt_frees_its_slot_when_its_lease_ends(pool: Pool) -> None:
    await _queue(pool, 8)
    assert len(await _claim(pool, seconds=0)) == 4
    assert await _claim(pool, seconds=LEASE_SECONDS - 1) == []
    assert len(await _claim(pool, seconds=LEASE_SECONDS)) == 4


async def test_retry_after_pauses_the_host_for_all_its_fetches_and_no_other(pool: Pool) -> None:
    await _queue(pool, 9)
    claimed = await _claim(pool, seconds=0)
    asked = fetched(429, is_retryable=True).model_copy(update={"not_before": at(6)})
    await _record(pool, claimed[0], asked, start=0, end=1)
    (waiting,) = await _queue(pool, 1)
    await _queue(pool, host="b.test")
    assert [fetch.command.request.url for fetch in await _claim(pool, seconds=1)] == ["http://b.test/0"]
    assert await _waiting(pool, waiting, seconds=2) == Waiting(reason=WaitingReason.HOST_PAUSED, until=at(6))
    for fetch in claimed[1:]:
        await _record(pool, fetch, fetched(), start=0, end=2)
    assert await _claim(pool, seconds=5.9) == []
    assert await next_look_seconds(pool, now=at(5)) == 1
    assert len(await _claim(pool, seconds=6)) == 4


async def test_a_response_slows_the_host_that_gave_it(pool: Pool) -> None:
    await _queue(pool, 2)
    await _queue(pool, 1, host="b.test", seconds=1)
    claimed = await _claim(pool, seconds=0, limit=1)
    response = fetched(503).response
    assert response is not None
    elsewhere = fetched(503).model_copy(update={"response": response.model_copy(update={"final_url": "http://b.test/x"})})
    await _record(pool, claimed[0], elsewhere, start=0, end=1)
    assert [fetch.command.request.url for fetch in await _claim(pool, seconds=1.5)] == ["http://a.test/1"]
    assert [fetch.command.request.url for fetch in await _claim(pool, seconds=2)] == ["http://b.test/0"]


async def test_a_crawl_delay_is_kept_from_then_on(pool: Pool) -> None:
    await _queue(pool, 9)
    claimed = await _claim(pool, seconds=0)
    robots = RobotsEvidence(verdict=RobotsVerdict.ALLOWED, url="http://a.test/robots.txt", crawl_delay_seconds=3)
    outcome = fetched().model_copy(update={"evidence": Evidence(robots=robots)})
    for fetch in claimed:
        assert (await _record(pool, fetch, outcome, start=0, end=1)).violations == 0
    assert await _claim(pool, seconds=3.9) == []
    assert len(await _claim(pool, seconds=4)) == 1
    assert await _claim(pool, seconds=9) == []


async def test_attempts_that_came_too_early_are_counted(pool: Pool) -> None:
    await _queue(pool, 2)
    (first,) = await _claim(pool, seconds=0, pace=SLOW)
    await _record(pool, first, fetched(), pace=SLOW, start=0, end=1)
    (second,) = await _claim(pool, seconds=3, pace=SLOW)
    recorded = await _record(pool, second, fetched(), pace=SLOW, start=2.5, end=4)
    assert recorded.violations == 1
    assert (await _record(pool, second, fetched(), pace=SLOW, start=2.5, end=4)).violations == 0


async def test_a_full_host_makes_its_fetches_wait_for_its_pace(pool: Pool) -> None:
    ids = await _queue(pool, 5)
    running = {fetch.command.id for fetch in await _claim(pool, seconds=0)}
    (left,) = set(ids) - running
    assert await _waiting(pool, left, seconds=1) == Waiting(reason=WaitingReason.HOST_PACE)
    view = await read_fetch(pool, left, has_fetcher=True, now=at(1))
    assert view is not None and view.waiting == Waiting(reason=WaitingReason.QUEUE)  # a gateway of the release before


@pytest.mark.parametrize(("was_tried", "opens_at"), [(False, 1), (True, SLOW_LEASE_SECONDS + 2)])
async def test_a_dispatch_of_unknown_fate_keeps_its_slow_host_held(pool: Pool, was_tried: bool, opens_at: float) -> None:
    await _queue(pool, 2)
    (claimed,) = await _claim(pool, seconds=0, pace=SLOW)
    tried, untried = ([claimed.command], []) if was_tried else ([], [claimed.command])
    await release(pool, tried=tried, untried=untried, pace=SLOW, now=at(1))
    assert await _claim(pool, seconds=opens_at - 0.1, pace=SLOW) == []
    assert len(await _claim(pool, seconds=opens_at, pace=SLOW)) == 1


async def test_a_wiped_broker_frees_the_slots_of_what_it_lost(pool: Pool) -> None:
    await _queue(pool, 8)
    await _claim(pool, seconds=0)
    await end_leases(pool, pace=FREE, dispatched_before=at(1))
    assert len(await _claim(pool, seconds=1)) == 4


async def test_answers_without_an_exchange_take_no_slot(pool: Pool) -> None:
    """A stored response answers at the door, and a leader's outcome ends whoever waits for it."""
    first = accepted(1, max_age_seconds=60)
    await accept_events(pool, first, now=at(0))
    follower = accepted(1, max_age_seconds=60)
    await accept_events(pool, follower, now=at(0))
    (leader,) = await _claim(pool, seconds=0)
    await _record(pool, leader, fetched(), start=0, end=1)
    await accept_events(pool, accepted(1, max_age_seconds=60), now=at(2))
    assert await fetch_rows(pool, "SELECT 1 FROM fetch_queue") == []
    await _queue(pool, 5, seconds=2)
    assert len(await _claim(pool, seconds=2)) == 4


async def test_hosts_that_an_earlier_store_let_in_are_found(pool: Pool) -> None:
    await _queue(pool, 1)
    await _queue(pool, 1, host="b.test")
    await fetch_rows(pool, "DELETE FROM hosts WHERE host = 'a.test'")
    await fetch_rows(pool, "UPDATE hosts SET look_at = 'infinity' WHERE host = 'b.test'")
    assert await _claim(pool, seconds=1) == []
    metrics = StoreMetrics()
    keeper = HostKeeper(pool=pool, retention_seconds=3600, metrics=metrics)
    await keeper.run_once()
    await keeper.run_once()
    assert metrics.registry.get_sample_value("fetchwork_hosts_overlooked_total") == 2
    rows = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=FREE, now=None)
    assert len(rows) == 2


EARLIER_ACCEPT = """
WITH accepted AS (
    INSERT INTO fetches (id, host, request, accepted_at, ingested_at)
    VALUES ($1, 'a.test', '{"url": "http://a.test/0", "retries": {"max": 2, "backoff_seconds": 1}}', now(), now())
    RETURNING id, host
)
INSERT INTO fetch_queue (id, host, run_at, waiting, timeout_seconds, at_most_once, sharing_key, coalesce_key, leader_id)
SELECT id, host, now() - interval '1 minute', 'queue', 30, false, NULL, NULL, NULL
FROM accepted
"""
EARLIER_CLAIM = """
WITH due AS (
    SELECT id, run_at
    FROM fetch_queue
    WHERE run_at <= now()
      AND unanswered < 5
      AND NOT (at_most_once AND unanswered > 0)
    ORDER BY run_at, id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE fetch_queue AS queue
SET state = 'running', waiting = 'queue', run_at = now() + make_interval(secs => 40), dispatched_at = now(),
    dispatch_seq = queue.dispatch_seq + 1, unanswered = queue.unanswered + 1, leader_id = NULL
FROM due
WHERE queue.id = due.id
RETURNING queue.id
"""


async def test_an_earlier_store_works_beside_this_one(pool: Pool) -> None:
    """Its statements, as they were. It does not pace, and nobody counts on a host what it has out."""
    for fetch_id in (new_fetch_id() for _ in range(5)):
        await fetch_rows(pool, EARLIER_ACCEPT, fetch_id)
    assert len(await fetch_rows(pool, EARLIER_CLAIM, 3)) == 3
    await HostKeeper(pool=pool, retention_seconds=3600, metrics=StoreMetrics()).run_once()
    await fetch_rows(pool, MEET)
    (claimed, _) = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=FREE, now=None)
    await fetch_rows(pool, "UPDATE fetch_queue SET run_at = now() WHERE id <> $1", claimed.command.id)
    assert len(await fetch_rows(pool, EARLIER_CLAIM, 9)) == 4


async def test_a_host_that_nobody_asks_for_is_forgotten_and_a_paused_one_is_not(pool: Pool) -> None:
    for name in ("a.test", "b.test"):
        await _queue(pool, host=name)
    first, second = await _claim(pool, seconds=0)
    asked = fetched(404).model_copy(update={"not_before": at(10**9)})
    await _record(pool, first, fetched(), start=0, end=1)
    await _record(pool, second, asked, start=0, end=1)
    await _claim(pool, seconds=2)
    await fetch_rows(pool, "UPDATE hosts SET paused_until = 'infinity' WHERE paused_until IS NOT NULL")
    await HostKeeper(pool=pool, retention_seconds=3600, metrics=StoreMetrics()).run_once()
    assert len(await fetch_rows(pool, "SELECT 1 FROM hosts WHERE paused_until IS NOT NULL")) == 1
    assert len(await fetch_rows(pool, "SELECT 1 FROM hosts")) == 1


async def _leased(pool: Pool, now: datetime) -> dict[str, int]:
    statement = "SELECT host, count(*) AS leased FROM fetch_queue WHERE state = 'running' AND run_at > $1 GROUP BY host"
    return {row["host"]: row["leased"] for row in await fetch_rows(pool, statement, now)}


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_sequence_no_host_is_over_its_pace_and_none_is_forgotten(pool: Pool, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    pace, seconds, out = (SLOW if seed % 2 else FREE), 0.0, list[Claimed]()
    for _ in range(80):
        seconds += draw.choice([0.1, 1, 15, 45])
        step = draw.random()
        if step < 0.3:
            await _queue(pool, draw.randint(1, 6), host=draw.choice(["a.test", "b.test", "c.test"]), seconds=seconds)
        elif step < 0.7:
            out += await _claim(pool, seconds=seconds, pace=pace, limit=draw.randint(1, 9))
        elif out and step < 0.9:
            outcome = draw.choice([fetched(), failed(), fetched(503, is_retryable=True)])
            answered = out.pop(draw.randrange(len(out)))
            await _record(pool, answered, outcome, pace=pace, start=seconds, end=seconds)
        elif out:
            commands = [out.pop().command]
            await release(pool, tried=commands if step < 0.95 else [], untried=[], pace=pace, now=at(seconds))
        assert all(count <= (1 if pace.delay_ms else 4) for count in (await _leased(pool, at(seconds))).values())
    for _ in range(300):  # whatever is left comes to its end, whoever was lost: nobody needs the keeper
        seconds += 5 + (await next_look_seconds(pool, now=at(seconds)) or 0)
        for fetch in await _claim(pool, seconds=seconds, pace=pace):
            await _record(pool, fetch, fetched(), pace=pace, start=seconds, end=seconds)
    left = await fetch_rows(pool, "SELECT * FROM fetch_queue WHERE unanswered < 9")
    assert left == []
    statement = "SELECT 1 FROM hosts WHERE look_at < 'infinity' AND host NOT IN (SELECT host FROM fetch_queue)"
    assert await fetch_rows(pool, statement) == []
