"""The claim over a real Postgres: who gets what, for how long, and what happens when nobody answers."""

import asyncio

import pytest
from common.contracts.envelope import Envelope
from common.contracts.fetches import ErrorType, FetchesAccepted, FetchStatus
from ledger_words import PACE, accept_events, accepted, at, claim_each
from store.database import Pool
from store.dispatch.claim import Lease, end_leases, release
from store.fetches.read import read_fetch
from store.maintenance.abandoner import Abandoner
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=2)


async def _queue(pool: Pool, fetches: int = 1, **request: float) -> Envelope[FetchesAccepted]:
    event = accepted(fetches, timeout_seconds=5.0, **request)
    await accept_events(pool, event, now=at(0))
    return event


async def _claim(pool: Pool, *, seconds: float, limit: int = 100, leased_limit: int = 100) -> list[int]:
    claimed = await claim_each(pool, limit=limit, leased_limit=leased_limit, lease=LEASE, pace=PACE, now=at(seconds))
    return [fetch.command.dispatch_seq for fetch in claimed]


async def test_what_is_due_is_claimed_once_and_leased_for_its_timeout_and_the_margin(pool: Pool) -> None:
    await _queue(pool)
    claimed = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(3))
    assert [fetch.command.lease_ends_at for fetch in claimed] == [at(3 + 5 + 10)]
    assert claimed[0].waited_seconds == 3 and not claimed[0].is_redelivery
    assert await _claim(pool, seconds=17) == []


async def test_a_lease_that_ends_without_an_answer_is_given_out_again_for_longer(pool: Pool) -> None:
    await _queue(pool)
    assert await _claim(pool, seconds=0) == [1]
    again = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(15))
    assert [(fetch.command.dispatch_seq, fetch.is_redelivery) for fetch in again] == [(2, True)]
    assert again[0].command.lease_ends_at == at(15 + 2 * 15)


async def test_a_delayed_fetch_is_not_claimed_early(pool: Pool) -> None:
    await _queue(pool, delay_seconds=60)
    assert await _claim(pool, seconds=59) == []
    assert await _claim(pool, seconds=60) == [1]


async def test_no_more_is_leased_than_workers_can_take(pool: Pool) -> None:
    await _queue(pool, 10)
    assert len(await _claim(pool, seconds=0, leased_limit=4)) == 4
    assert await _claim(pool, seconds=0, leased_limit=4) == []
    assert len(await _claim(pool, seconds=0, leased_limit=6)) == 2


async def test_the_oldest_is_claimed_first(pool: Pool) -> None:
    first, second = await _queue(pool), await _queue(pool, delay_seconds=1)
    claimed = await claim_each(pool, limit=1, leased_limit=9, lease=LEASE, pace=PACE, now=at(5))
    assert [fetch.command.id for fetch in claimed] == [first.data.fetches[0].id]
    assert first.data.fetches[0].id != second.data.fetches[0].id


async def test_dispatchers_at_once_never_share_a_fetch(pool: Pool) -> None:
    await _queue(pool, 200)
    parts = await asyncio.gather(
        *(claim_each(pool, limit=50, leased_limit=1000, lease=LEASE, pace=PACE, now=at(0)) for _ in range(6))
    )
    ids = [fetch.command.id for part in parts for fetch in part]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await _claim(pool, seconds=0, limit=200, leased_limit=1000)) == 200


async def test_a_dispatch_that_did_not_leave_is_due_at_once_and_not_held_against_the_fetch(pool: Pool) -> None:
    await _queue(pool)
    for seconds in range(5):  # more often than abandon_after_dispatches
        claimed = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(seconds))
        assert len(claimed) == 1
        await release(pool, tried=[fetch.command for fetch in claimed], pace=PACE, now=at(seconds))


async def test_giving_back_an_old_dispatch_does_not_disturb_the_newer_one(pool: Pool) -> None:
    await _queue(pool)
    old = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(0))
    assert await _claim(pool, seconds=15) == [2]
    await release(pool, tried=[fetch.command for fetch in old], pace=PACE, now=at(16))
    assert await _claim(pool, seconds=16) == []


async def test_a_wiped_broker_ends_the_leases_of_what_was_dispatched_before(pool: Pool) -> None:
    await _queue(pool, 2)
    assert len(await _claim(pool, seconds=0, limit=1)) == 1
    assert len(await _claim(pool, seconds=2, limit=1)) == 1
    await end_leases(pool, pace=PACE, dispatched_before=at(1))
    assert await _claim(pool, seconds=2) == [2]


@pytest.mark.parametrize("dispatches", [2])
async def test_a_fetch_that_nobody_ever_answers_fails_as_abandoned(pool: Pool, dispatches: int) -> None:
    event = await _queue(pool)
    metrics = StoreMetrics()
    abandoner = Abandoner(pool=pool, after_dispatches=dispatches, source="store/t", metrics=metrics)
    for seconds in (0, 15):
        await abandoner.run_once()
        assert len(await _claim(pool, seconds=seconds)) == 1
    assert await _claim(pool, seconds=10_000) == []
    await abandoner.run_once()
    view = await read_fetch(pool, event.data.fetches[0].id, has_fetcher=True)
    assert view is not None and view.status is FetchStatus.FAILED
    assert view.error is not None and view.error.type is ErrorType.ABANDONED
    assert metrics.registry.get_sample_value("fetchwork_fetches_finished_total", {"status": "failed"}) == 1
