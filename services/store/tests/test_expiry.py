"""Fetches that may not be attempted any more: they end by themselves, unless an attempt is out that may still bring something."""

from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from common.contracts.fetches import ErrorType, FetchStatus
from common.contracts.views import FetchView
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, failed, fetched
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Claimed, Lease
from store.fetches.lifecycle import Finish, Pending, Retry, next_state
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, Recorded, record
from store.maintenance import expirer
from store.maintenance.expirer import Expirer
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=9)
LEASE_SECONDS = 40.0


async def _queue(pool: Pool, fetches: int = 1, **request: Any) -> list[UUID]:
    event = accepted(fetches, **request)
    await accept_events(pool, event, now=at(0))
    return [fetch.id for fetch in event.data.fetches]


async def _claim(pool: Pool, *, seconds: float) -> list[Claimed]:
    return await claim_each(pool, limit=100, leased_limit=100, lease=LEASE, pace=PACE, now=at(seconds))


async def _expire(pool: Pool, *, seconds: float) -> StoreMetrics:
    metrics = StoreMetrics()
    await Expirer(pool=pool, source="store/t", metrics=metrics).run_once(now=at(seconds))
    return metrics


async def _record(pool: Pool, fetch_id: UUID, *, seconds: float, is_success: bool, dispatch_seq: int = 1) -> Recorded:
    outcome = fetched() if is_success else failed()
    attempt = Attempt(attempted=attempted(fetch_id, outcome, dispatch_seq=dispatch_seq))
    return await in_transaction(
        pool, lambda c: record(c, [attempt], source="store/t", pace=PACE, now=at(seconds), jitter=lambda: 1.0)
    )


async def _view(pool: Pool, fetch_id: UUID) -> FetchView:
    view = await read_fetch(pool, fetch_id, has_fetcher=True, now=at(100))
    assert view is not None
    return view


async def test_what_waits_longer_than_it_may_expires_and_says_so(pool: Pool) -> None:
    due, delayed = await _queue(pool, expires_at=at(10)) + await _queue(pool, expires_at=at(20), delay_seconds=60)
    (other,) = await _queue(pool)
    await _expire(pool, seconds=9.9)
    assert (await _view(pool, due)).status is FetchStatus.QUEUED
    metrics = await _expire(pool, seconds=20)
    assert metrics.registry.get_sample_value("fetchwork_fetches_finished_total", {"status": "expired"}) == 2
    for fetch_id, seconds in ((due, 10), (delayed, 20)):
        view = await _view(pool, fetch_id)
        assert (view.status, view.expires_at, view.finished_at) == (FetchStatus.EXPIRED, at(seconds), at(20))
        assert view.error is not None and view.error.type is ErrorType.EXPIRED
        assert f"2026-01-01T12:00:{seconds}Z" in view.error.detail
    assert [fetch.command.id for fetch in await _claim(pool, seconds=21)] == [other]
    assert len(await fetch_rows(pool, "SELECT 1 FROM outbox")) == 2


async def test_one_that_is_out_may_finish_after_its_expiry(pool: Pool) -> None:
    (fetch_id,) = await _queue(pool, expires_at=at(10))
    assert len(await _claim(pool, seconds=5)) == 1
    await _expire(pool, seconds=11)
    assert (await _record(pool, fetch_id, seconds=12, is_success=True)).finished.statuses == Counter(succeeded=1)
    assert (await _view(pool, fetch_id)).status is FetchStatus.SUCCEEDED


async def test_one_whose_worker_vanished_expires_with_its_lease(pool: Pool) -> None:
    (fetch_id,) = await _queue(pool, expires_at=at(10))
    await _claim(pool, seconds=5)
    await _expire(pool, seconds=5 + LEASE_SECONDS - 1)
    assert len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")) == 1
    assert await _claim(pool, seconds=5 + LEASE_SECONDS) == [], "no attempt starts after the expiry"
    await _expire(pool, seconds=5 + LEASE_SECONDS)
    assert (await _view(pool, fetch_id)).status is FetchStatus.EXPIRED


async def test_one_that_may_be_sent_once_and_was_is_left_to_the_abandoner(pool: Pool) -> None:
    """Its request may have arrived, and that is what its caller must be told."""
    await _queue(pool, method="POST", expires_at=at(10))
    await _claim(pool, seconds=5)
    await _expire(pool, seconds=5 + LEASE_SECONDS)
    assert len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")) == 1


@pytest.mark.parametrize(("expires", "status"), [(3.0, FetchStatus.EXPIRED), (3.5, FetchStatus.QUEUED)])
async def test_a_retry_that_would_come_too_late_ends_the_fetch_at_once(pool: Pool, expires: float, status: FetchStatus) -> None:
    (fetch_id,) = await _queue(pool, expires_at=at(expires))
    await _claim(pool, seconds=0)
    recorded = await _record(pool, fetch_id, seconds=2, is_success=False)
    view = await _view(pool, fetch_id)
    assert (recorded.retries, view.status) == (int(status is FetchStatus.QUEUED), status)
    if status is FetchStatus.EXPIRED:
        assert view.error is not None and view.error.type is ErrorType.EXPIRED


@pytest.mark.parametrize(("expires_in", "transition"), [(None, Retry), (1.01, Retry), (1.0, Finish), (-5.0, Finish)])
def test_a_retry_must_be_due_before_the_expiry(expires_in: float | None, transition: type) -> None:
    pending = Pending(
        id=uuid4(),
        is_running=True,
        dispatch_seq=1,
        attempts=0,
        retries_max=2,
        backoff_seconds=1.0,
        expires_in_seconds=expires_in,
    )
    next_one = next_state(pending, attempted(pending.id, failed()), jitter=lambda: 1.0)
    assert isinstance(next_one, transition)
    if isinstance(next_one, Finish):
        assert next_one.status is FetchStatus.EXPIRED


async def test_an_expired_leader_shares_nothing(pool: Pool) -> None:
    (leader,) = await _queue(pool, max_age_seconds=60.0, expires_at=at(10))
    (follower,) = await _queue(pool, max_age_seconds=60.0)
    assert (await fetch_rows(pool, "SELECT leader_id FROM fetch_queue WHERE id = $1", follower))[0]["leader_id"] == leader
    await _expire(pool, seconds=11)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=11)] == [follower]


async def test_a_large_number_expires_in_bounded_sets(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expirer, "BATCH_FETCHES", 4)
    await _queue(pool, 6, expires_at=at(10))
    loop = Expirer(pool=pool, source="store/t", metrics=StoreMetrics())
    left = []
    for _ in range(2):
        rest = await loop.run_once(now=at(10))
        left.append((rest, len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue"))))
    assert left == [(0, 2), (expirer.REST_SECONDS, 0)]
