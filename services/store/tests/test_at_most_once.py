"""A method that is not idempotent: given out once, never taken back once tried, never tried again."""

import pytest
from common.contracts.fetches import ErrorType, FetchStatus
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, failed
from store.database import Pool, in_transaction
from store.dispatch.claim import Claimed, Lease, end_leases, release
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, record
from store.maintenance.abandoner import Abandoner
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=5)


async def _claim(pool: Pool, *, seconds: float) -> list[Claimed]:
    return await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(seconds))


@pytest.mark.parametrize("loss", ["lease", "wiped broker", "send of unknown fate"])
async def test_a_lost_outcome_ends_the_fetch_and_it_is_never_given_out_again(pool: Pool, loss: str) -> None:
    event = accepted(1, method="POST", body="x")
    await accept_events(pool, event, now=at(0))
    (claimed,) = await _claim(pool, seconds=0)
    if loss == "wiped broker":
        await end_leases(pool, pace=PACE, dispatched_before=at(1))
    if loss == "send of unknown fate":
        await release(pool, tried=[claimed.command], pace=PACE, now=at(0))
    assert await _claim(pool, seconds=10_000) == []
    await Abandoner(pool=pool, after_dispatches=5, source="store/t", metrics=StoreMetrics()).run_once()
    view = await read_fetch(pool, event.data.fetches[0].id, has_fetcher=True)
    assert view is not None and view.at_most_once and view.status is FetchStatus.FAILED
    assert view.error is not None and view.error.type is ErrorType.ABANDONED and "not sent a second time" in view.error.detail


async def test_one_that_nobody_tried_to_send_is_given_out_again(pool: Pool) -> None:
    await accept_events(pool, accepted(1, method="PATCH"), now=at(0))
    (claimed,) = await _claim(pool, seconds=0)
    await release(pool, tried=[], untried=[claimed.command], pace=PACE, now=at(1))
    assert len(await _claim(pool, seconds=1)) == 1


async def test_a_failure_that_may_pass_is_final(pool: Pool) -> None:
    """Whatever the event says about retries: an older gateway may have written it."""
    event = accepted(1, method="POST", retries={"max": 3})
    await accept_events(pool, event, now=at(0))
    await _claim(pool, seconds=0)
    work = [Attempt(attempted=attempted(event.data.fetches[0].id, failed()))]
    recorded = await in_transaction(
        pool, lambda c: record(c, work, source="store/t", pace=PACE, now=at(1), jitter=lambda: 1.0)
    )
    assert (recorded.retries, recorded.finished.statuses["failed"]) == (0, 1)
