"""What waits for hosts that it will not get to fails with a reason: banned ones at once, unreached ones after some patience."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from common.contracts.fetches import ErrorType, FetchStatus
from common.contracts.hosts import HostChange, HostOperation, HostState
from common.contracts.views import FetchView
from ledger_words import PACE, accept_events, accepted, at, claim_each
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Claimed, Lease
from store.fetches.read import read_fetch
from store.hosts.operate import operate_host
from store.hosts.pace import PaceSettings
from store.maintenance import refuser
from store.maintenance.refuser import Refuser, failures_of_patience
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=9)
LEASE_SECONDS = 40.0
ENOUGH = failures_of_patience(PACE, 60)


async def _queue(pool: Pool, fetches: int = 1, *, host: str = "a.test", seconds: float = 0, **request: Any) -> list[UUID]:
    event = accepted(fetches, host=host, **request)
    await accept_events(pool, event, now=at(seconds))
    return [fetch.id for fetch in event.data.fetches]


async def _claim(pool: Pool, *, seconds: float, limit: int = 100) -> list[Claimed]:
    return await claim_each(pool, limit=limit, leased_limit=100, lease=LEASE, pace=PACE, now=at(seconds))


def _refuser(pool: Pool) -> Refuser:
    return Refuser(pool=pool, pace=PACE, patience_seconds=60, source="store/t", metrics=StoreMetrics())


async def _refuse(pool: Pool, *, seconds: float) -> None:
    await _refuser(pool).run_once(now=at(seconds))


async def _ban(pool: Pool, *, host: str = "a.test", seconds: float = 0, reason: str | None = "they asked us to") -> None:
    change = HostChange(state=HostState.BANNED, reason=reason, expires_in_seconds=3600)
    operation = HostOperation(actor="op", change=change)
    await in_transaction(pool, lambda c: operate_host(c, host, operation, PACE, now=at(seconds)))


async def _break(pool: Pool, *, failures: int = ENOUGH, error: str | None = "dns", until: datetime = at(1000)) -> None:
    recent = [{"at": at(0).isoformat(), "outcome": "failed", "status": None, "error": error, "seconds": 1.0}]
    await fetch_rows(pool, "UPDATE hosts SET failures = $1, broken_until = $2, recent = $3", failures, until, json.dumps(recent))


async def _view(pool: Pool, fetch_id: UUID) -> FetchView:
    view = await read_fetch(pool, fetch_id, has_fetcher=True, now=at(1))
    assert view is not None
    return view


async def test_all_that_waits_for_a_banned_host_fails_and_names_the_ban(pool: Pool) -> None:
    ids = await _queue(pool, 2) + await _queue(pool, delay_seconds=600)
    (elsewhere,) = await _queue(pool, host="b.test")
    await _ban(pool)
    ids += await _queue(pool, seconds=1)  # and what comes later
    await _refuse(pool, seconds=2)
    for fetch_id in ids:
        view = await _view(pool, fetch_id)
        assert view.status is FetchStatus.FAILED and view.error is not None
        assert view.error.type is ErrorType.REFUSED_ADDRESS
        assert view.error.detail == "An operator banned the host until 2026-01-01T13:00:00Z: they asked us to"
    assert [fetch.command.id for fetch in await _claim(pool, seconds=3)] == [elsewhere]


async def test_what_is_out_on_a_banned_host_may_finish(pool: Pool) -> None:
    out, waiting = await _queue(pool, 2)
    assert len(await _claim(pool, seconds=0, limit=1)) == 1
    await _ban(pool, reason=None)
    await _refuse(pool, seconds=1)
    assert (await _view(pool, out)).status is FetchStatus.RUNNING
    error = (await _view(pool, waiting)).error
    assert error is not None and error.detail.endswith("Z.")
    await _refuse(pool, seconds=LEASE_SECONDS)  # nobody answered
    assert await fetch_rows(pool, "SELECT 1 FROM fetch_queue") == []


async def test_a_ban_that_ended_refuses_nothing(pool: Pool) -> None:
    (fetch_id,) = await _queue(pool)
    await _ban(pool)
    await _refuse(pool, seconds=3600)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=3600)] == [fetch_id]


async def test_followers_of_what_a_ban_ended_fail_as_it_did(pool: Pool) -> None:
    ids = [*await _queue(pool, max_age_seconds=60.0), *await _queue(pool, max_age_seconds=60.0)]
    assert len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue WHERE leader_id IS NOT NULL")) == 1
    await _ban(pool)
    await _refuse(pool, seconds=1)
    views = [await _view(pool, fetch_id) for fetch_id in ids]
    assert [view.error.type for view in views if view.error is not None] == [ErrorType.REFUSED_ADDRESS] * 2


async def test_what_was_due_for_long_on_a_host_that_nobody_reaches_fails_with_its_last_error(pool: Pool) -> None:
    (old,) = await _queue(pool)
    (young,) = await _queue(pool, seconds=30)
    (later,) = await _queue(pool, delay_seconds=300)
    await _break(pool)
    await _refuse(pool, seconds=59.9)
    assert (await _view(pool, old)).status is FetchStatus.QUEUED
    await _refuse(pool, seconds=61)
    view = await _view(pool, old)
    assert view.status is FetchStatus.FAILED and view.error is not None
    assert view.error.type is ErrorType.DNS
    assert view.error.detail == f"The host could not be reached {ENOUGH} times in a row; this fetch was not attempted."
    assert [(await _view(pool, fetch_id)).status for fetch_id in (young, later)] == [FetchStatus.QUEUED] * 2


async def test_a_host_that_was_just_lost_has_its_backlog_still(pool: Pool) -> None:
    """However long its fetches were due: they waited for their turn, not for the host to come back."""
    (fetch_id,) = await _queue(pool)
    await _break(pool, failures=ENOUGH - 1)
    await _refuse(pool, seconds=1000)
    assert (await _view(pool, fetch_id)).status is FetchStatus.QUEUED
    await _break(pool, error=None)
    await _refuse(pool, seconds=1000)
    error = (await _view(pool, fetch_id)).error
    assert error is not None and error.type is ErrorType.CONNECT


async def test_what_is_out_to_probe_a_lost_host_is_left_alone(pool: Pool) -> None:
    (probe,) = await _queue(pool)
    await _claim(pool, seconds=70)
    await _break(pool, until=at(60))
    await _refuse(pool, seconds=80)
    assert (await _view(pool, probe)).status is FetchStatus.RUNNING


@pytest.mark.parametrize(("patience", "failures"), [(10, 6), (30, 7), (31, 8), (300, 10), (610, 11), (1211, 14)])
def test_patience_is_over_when_the_host_rested_for_that_long(patience: float, failures: int) -> None:
    """Rests of 10, 20, 40, 80, 160 and from then on 300 seconds, after five failures."""
    assert failures_of_patience(PaceSettings(delay_ms=0, max_in_flight=1), patience) == failures


async def test_many_hosts_and_many_fetches_end_in_bounded_sets(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refuser, "BATCH_FETCHES", 4)
    monkeypatch.setattr(refuser, "HOSTS_AT_ONCE", 2)
    for host in ("a.test", "b.test", "c.test"):
        await _queue(pool, 5, host=host)
        await _ban(pool, host=host)
    loop, rests, left = _refuser(pool), list[float](), list[int]()
    while not rests or rests[-1] == 0:
        rests.append(await loop.run_once(now=at(1)))
        left.append(len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")))
        assert len(rests) < 20
    assert left == [11, 7, 5, 1, 0]
