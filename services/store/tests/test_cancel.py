"""Taking fetches back: queued, running, led and leading ones, once and twice, and the attempt that is out all the while."""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

from api_words import open_caller
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchesAccepted, FetchStatus
from common.contracts.views import FetchView
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, failed, fetched
from redis.asyncio import Redis
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Claimed, Lease
from store.fetches.cancel import cancel_fetch
from store.fetches.finish import Finished
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, Recorded, record

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
SAME = {"max_age_seconds": 60.0}


async def _queue(pool: Pool, fetches: int = 1, **request: Any) -> list[UUID]:
    event = accepted(fetches, **request)
    await accept_events(pool, event, now=at(0))
    return [fetch.id for fetch in event.data.fetches]


async def _queue_equal(pool: Pool, fetches: int) -> list[UUID]:
    """A leader, and those that follow it."""
    event = accepted(fetches, **SAME)
    first = event.data.fetches[0].request
    same = tuple(fetch.model_copy(update={"request": first}) for fetch in event.data.fetches)
    equal: Envelope[FetchesAccepted] = event.model_copy(update={"data": FetchesAccepted(fetches=same)})
    await accept_events(pool, equal, now=at(0))
    return sorted(fetch.id for fetch in same)


async def _claim(pool: Pool, *, seconds: float) -> list[Claimed]:
    return await claim_each(pool, limit=100, leased_limit=100, lease=LEASE, pace=PACE, now=at(seconds))


async def _cancel(pool: Pool, fetch_id: UUID, *, seconds: float = 1) -> Finished:
    return await in_transaction(pool, lambda c: cancel_fetch(c, fetch_id, source="store/t", now=at(seconds)))


async def _record(pool: Pool, fetch_id: UUID, *, is_success: bool = True) -> Recorded:
    attempt = Attempt(attempted=attempted(fetch_id, fetched() if is_success else failed()))
    return await in_transaction(
        pool, lambda c: record(c, [attempt], source="store/t", pace=PACE, now=at(2), jitter=lambda: 1.0)
    )


async def _view(pool: Pool, fetch_id: UUID) -> FetchView:
    view = await read_fetch(pool, fetch_id, has_fetcher=True, now=at(3))
    assert view is not None
    return view


async def _lanes(pool: Pool, host: str = "a.test") -> int:
    return len(json.loads((await fetch_rows(pool, "SELECT lanes FROM hosts WHERE host = $1", host))[0]["lanes"]))


async def test_a_queued_fetch_ends_at_once_and_the_feed_tells(pool: Pool) -> None:
    cancelled, other = await _queue(pool, 2)
    assert (await _cancel(pool, cancelled)).statuses == Counter(cancelled=1)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=2)] == [other]
    view = await _view(pool, cancelled)
    assert (view.status, view.finished_at, view.error) == (FetchStatus.CANCELLED, at(1), None)
    (event,) = await fetch_rows(pool, "SELECT event FROM outbox")
    data = json.loads(event["event"])["data"]
    assert (data["id"], data["status"]) == (str(cancelled), "cancelled")


async def test_cancelling_twice_is_cancelling_once(pool: Pool) -> None:
    (fetch_id,) = await _queue(pool)
    await _cancel(pool, fetch_id)
    assert await _cancel(pool, fetch_id, seconds=5) == Finished()
    assert (await _view(pool, fetch_id)).finished_at == at(1)
    assert len(await fetch_rows(pool, "SELECT 1 FROM outbox")) == 1


async def test_the_outcome_of_a_cancelled_fetch_changes_nothing_about_it_and_frees_its_lane(pool: Pool) -> None:
    for is_success in (True, False):
        (fetch_id,) = await _queue(pool)
        assert [fetch.command.id for fetch in await _claim(pool, seconds=0)] == [fetch_id]
        await _cancel(pool, fetch_id)
        assert await _lanes(pool) == 1, "the worker is still at it"
        recorded = await _record(pool, fetch_id, is_success=is_success)
        assert (recorded.finished, recorded.retries, recorded.unknown) == (Finished(), 0, frozenset())
        assert recorded.attempts.total() == 1
        assert await _lanes(pool) == 0
        view = await _view(pool, fetch_id)
        assert (view.status, view.finished_at, view.response) == (FetchStatus.CANCELLED, at(1), None)
        assert [attempt.number for attempt in view.attempts] == [1], "what was done is not forgotten"


async def test_of_those_that_followed_a_cancelled_leader_one_goes_on_and_leads(pool: Pool) -> None:
    leader, second, third = await _queue_equal(pool, 3)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=0)] == [leader]
    await fetch_rows(pool, "UPDATE hosts SET look_at = 'infinity'")  # what an idle host says
    assert (await _cancel(pool, leader)).released == {"a.test"}
    assert [fetch.command.id for fetch in await _claim(pool, seconds=1)] == [second]
    await _record(pool, second)
    assert [(await _view(pool, fetch_id)).status for fetch_id in (second, third)] == [FetchStatus.SUCCEEDED] * 2


async def test_a_cancelled_follower_leaves_its_leader_alone(pool: Pool) -> None:
    leader, follower = await _queue_equal(pool, 2)
    await _cancel(pool, follower)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=1)] == [leader]
    assert (await _record(pool, leader)).finished.statuses == Counter(succeeded=1)


async def test_cancels_claims_and_outcomes_at_once_end_each_fetch_once(pool: Pool) -> None:
    ids = await _queue(pool, 40)
    out = await claim_each(pool, limit=20, leased_limit=20, lease=LEASE, pace=PACE, now=at(0))
    claimed = [fetch.command.id for fetch in out]
    results = await asyncio.gather(
        *(_cancel(pool, fetch_id) for fetch_id in ids),
        *(_record(pool, fetch_id) for fetch_id in claimed),
        _claim(pool, seconds=1),
    )
    statuses = [row["status"] for row in await fetch_rows(pool, "SELECT status FROM fetches")]
    assert set(statuses) <= {"cancelled", "succeeded"} and len(results) == 61
    assert len(await fetch_rows(pool, "SELECT 1 FROM outbox")) == 40
    assert await fetch_rows(pool, "SELECT 1 FROM fetch_queue") == []


async def test_the_route_answers_for_every_end(pool: Pool, events: Redis) -> None:
    queued, done = await _queue(pool, 2)
    async with open_caller(pool, events) as caller:
        for _ in range(2):
            answer = await caller.http.delete(f"/internal/v1/fetches/{queued}")
            assert answer.status_code == 200 and FetchView.model_validate(answer.json()).status is FetchStatus.CANCELLED
        assert caller.woken == ["relay", "dispatcher"], "once: the second time nothing happened"
        assert caller.metrics.registry.get_sample_value("fetchwork_fetches_finished_total", {"status": "cancelled"}) == 1
        await _claim(pool, seconds=1)
        await _record(pool, done)
        answer = await caller.http.delete(f"/internal/v1/fetches/{done}")
        assert answer.status_code == 409 and FetchView.model_validate(answer.json()).status is FetchStatus.SUCCEEDED
        assert (await caller.http.delete(f"/internal/v1/fetches/{uuid4()}")).status_code == 404
        refused = await caller.http.delete(f"/internal/v1/fetches/{queued}", headers={"Authorization": "Bearer wrong"})
        assert refused.status_code == 401
