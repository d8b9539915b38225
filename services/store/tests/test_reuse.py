"""Reuse over a real Postgres: what is stored answers, what is pending is waited for, what was confirmed is told again."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from common.contracts.envelope import Envelope
from common.contracts.fetches import ErrorType, FetchesAccepted, FetchStatus, Outcome, OutcomeKind, ResponseHead
from common.contracts.views import FetchView, ServedByKind, WaitingReason
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, failed, fetched
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Claimed, Lease
from store.fetches.followers import FOLLOW_MARGIN_SECONDS, FOLLOWERS_AT_ONCE
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, Recorded, record
from store.maintenance.follower_finisher import FollowerFinisher
from store.maintenance.follower_promoter import BATCH_FETCHES, FollowerPromoter
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
VALIDATED = (("ETag", '"a"'), ("Content-Type", "text/plain"), ("X-Old", "1"))


def _response(*headers: tuple[str, str], status: int = 200) -> Outcome:
    head = ResponseHead(status=status, headers=headers, media_type="text/plain", final_url="http://a.test/0")
    return Outcome(kind=OutcomeKind.FETCHED, response=head)


async def _record(pool: Pool, fetch_id: UUID, outcome: Outcome, *, seconds: float, dispatch_seq: int = 1) -> Recorded:
    event = attempted(fetch_id, outcome, dispatch_seq=dispatch_seq).model_copy(update={"finished_at": at(seconds)})
    return await in_transaction(
        pool, lambda c: record(c, [Attempt(attempted=event)], source="store/t", pace=PACE, now=at(seconds), jitter=lambda: 1.0)
    )


async def _ask(pool: Pool, *, seconds: float, **request: Any) -> UUID:
    event = _event(seconds=seconds, **request)
    await accept_events(pool, event, now=at(seconds))
    return event.data.fetches[0].id


def _event(*, seconds: float, fetches: int = 1, **request: Any) -> Envelope[FetchesAccepted]:
    """So many fetches of one URL."""
    event = accepted(fetches, **{"max_age_seconds": 60.0} | request)
    request_of_all = event.data.fetches[0].request
    changes = {"accepted_at": at(seconds), "request": request_of_all}
    same = [fetch.model_copy(update=changes) for fetch in event.data.fetches]
    return event.model_copy(update={"data": FetchesAccepted(fetches=tuple(same))})


async def _promote(pool: Pool, *, seconds: float) -> None:
    await FollowerPromoter(pool=pool).run_once(now=at(seconds))


async def _claim(pool: Pool, *, seconds: float) -> list[Claimed]:
    return await claim_each(pool, limit=2000, leased_limit=2000, lease=LEASE, pace=PACE, now=at(seconds))


async def _stored(pool: Pool, outcome: Outcome | None = None, *, seconds: float = 1, **request: Any) -> UUID:
    """A finished fetch, asked for at 0 and answered at `seconds`."""
    fetch_id = await _ask(pool, seconds=0, **request)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=0)] == [fetch_id]
    await _record(pool, fetch_id, outcome or _response(*VALIDATED), seconds=seconds)
    return fetch_id


async def _view(pool: Pool, fetch_id: UUID, *, seconds: float = 1) -> FetchView:
    view = await read_fetch(pool, fetch_id, has_fetcher=True, now=at(seconds))
    assert view is not None
    return view


async def _due(pool: Pool, fetch_id: UUID) -> datetime:
    due: datetime = (await fetch_rows(pool, "SELECT run_at FROM fetch_queue WHERE id = $1", fetch_id))[0]["run_at"]
    return due


async def _count(pool: Pool, table: str) -> int:
    return int((await fetch_rows(pool, f"SELECT count(*) FROM {table}"))[0][0])  # noqa: S608


@pytest.mark.parametrize("first_max_age", [None, 60.0])
async def test_a_stored_response_of_that_age_answers_at_once_and_is_told(pool: Pool, first_max_age: float | None) -> None:
    source = await _stored(pool, max_age_seconds=first_max_age)
    event = _event(seconds=31)
    done = await accept_events(pool, event, now=at(31))
    assert done.finished.reused == Counter(cache=1)
    again = await _view(pool, event.data.fetches[0].id)
    assert again.status is FetchStatus.SUCCEEDED and again.attempts == []
    assert again.response == (await _view(pool, source)).response
    assert again.served_by is not None
    assert (again.served_by.kind, again.served_by.fetch_id, again.served_by.age_seconds) == (ServedByKind.CACHE, source, 30)
    assert await _count(pool, "fetch_queue") == 0 and await _count(pool, "outbox") == 2
    await accept_events(pool, event, now=at(32))  # delivered twice
    assert await _count(pool, "outbox") == 2


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        ({}, {}, 62),
        ({}, {"max_age_seconds": 0.0}, 1),
        ({}, {"max_age_seconds": None}, 2),
        ({}, {"headers": {"A": "b"}}, 2),
        ({"headers": {"Authorization": "x"}}, {"headers": {"Authorization": "y"}}, 2),
        ({}, {"robots": "ignore"}, 2),
        ({}, {"headers": {"Range": "bytes=0-1"}}, 2),
        ({"headers": {"If-None-Match": '"a"'}}, {"headers": {"If-None-Match": '"a"'}}, 2),
        ({"method": "HEAD"}, {"method": "HEAD"}, 2),
        ({"method": "POST"}, {"method": "POST"}, 2),
        ({}, {"delay_seconds": 5.0}, 2),
    ],
)
async def test_another_request_or_an_older_response_is_not_answered(
    pool: Pool, first: dict[str, Any], second: dict[str, Any], seconds: float
) -> None:
    await _stored(pool, **first)
    await _ask(pool, seconds=seconds, **second)
    assert await _count(pool, "fetch_queue") == 1


@pytest.mark.parametrize(
    "outcome",
    [
        _response(*VALIDATED, status=500),
        _response(*VALIDATED, status=206),
        _response(*VALIDATED, status=304),
        _response(("Cache-Control", "max-age=5, No-Store")),
        _response(("cache-control", 'private="x"')),
        _response(("Vary", "Accept, *")),
        failed(is_retryable=False),
    ],
)
async def test_what_may_not_be_reused_is_not(pool: Pool, outcome: Outcome) -> None:
    await _stored(pool, outcome)
    fetch_id = await _ask(pool, seconds=2)
    claimed = await _claim(pool, seconds=2)
    assert [(fetch.command.id, fetch.command.validators) for fetch in claimed] == [(fetch_id, None)]


async def test_equal_fetches_share_one_exchange_and_keep_their_ids(pool: Pool) -> None:
    event = _event(seconds=0, fetches=3)
    leader, *followers = [fetch.id for fetch in event.data.fetches]
    await accept_events(pool, event, now=at(0))
    followers.append(await _ask(pool, seconds=0.5))
    assert [fetch.command.id for fetch in await _claim(pool, seconds=1)] == [leader]
    waiting = (await _view(pool, followers[-1])).waiting
    assert waiting is not None and waiting.reason is WaitingReason.COALESCED and waiting.until == at(30.5)
    recorded = await _record(pool, leader, _response(*VALIDATED), seconds=2)
    assert recorded.finished.statuses == Counter(succeeded=4) and recorded.finished.reused == Counter(coalesced=3)
    for follower in followers:
        view = await _view(pool, follower)
        assert view.response == (await _view(pool, leader)).response and view.served_by is not None
        assert (view.served_by.kind, view.served_by.fetch_id) == (ServedByKind.COALESCED, leader)
    assert await _count(pool, "fetch_queue") == 0 and await _count(pool, "outbox") == 4
    assert await _record(pool, leader, _response(*VALIDATED), seconds=3) == Recorded()


async def test_a_failure_is_shared_too(pool: Pool) -> None:
    leader, follower = await _ask(pool, seconds=0), await _ask(pool, seconds=0)
    await _claim(pool, seconds=0)
    await _record(pool, leader, failed(error=ErrorType.DNS, is_retryable=False), seconds=1)
    view = await _view(pool, follower)
    assert view.error is not None and view.error.type is ErrorType.DNS
    assert view.served_by is not None and view.served_by.fetch_id == leader


@pytest.mark.parametrize("other", [{"timeout_seconds": 5.0}, {"max_bytes": 5}, {"retries": {"max": 0}}])
async def test_other_limits_make_another_exchange(pool: Pool, other: dict[str, Any]) -> None:
    await _ask(pool, seconds=0)
    await _ask(pool, seconds=0, **other)
    assert len(await _claim(pool, seconds=0)) == 2


async def test_a_follower_goes_its_own_way_when_the_leader_takes_too_long(pool: Pool) -> None:
    leader, follower = await _ask(pool, seconds=0), await _ask(pool, seconds=0)
    assert len(await _claim(pool, seconds=0)) == 1
    await _promote(pool, seconds=29)
    assert await _claim(pool, seconds=29) == []
    assert await _claim(pool, seconds=31) == [], "a claim itself lets nobody loose"
    await _promote(pool, seconds=31)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=31)] == [follower]
    await _record(pool, leader, _response(*VALIDATED), seconds=32)
    assert (await _view(pool, follower, seconds=32)).status is FetchStatus.RUNNING
    await _record(pool, follower, _response(status=404), seconds=33)
    served_by = (await _view(pool, follower)).served_by
    assert served_by is not None and (served_by.kind, served_by.fetch_id) == (ServedByKind.LIVE, follower)
    assert await _count(pool, "fetch_queue") == 0


async def test_of_many_followers_only_one_goes_its_own_way_and_the_others_follow_it(pool: Pool) -> None:
    leader = await _ask(pool, seconds=0)
    await _claim(pool, seconds=0)
    first, *others = sorted([await _ask(pool, seconds=0) for _ in range(4)])
    await _promote(pool, seconds=31)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=31)] == [first]
    waiting = (await _view(pool, others[-1], seconds=31)).waiting
    assert waiting is not None and waiting.reason is WaitingReason.COALESCED
    assert waiting.until == at(31 + 30 + FOLLOW_MARGIN_SECONDS)
    recorded = await _record(pool, first, _response(*VALIDATED), seconds=32)
    assert recorded.finished.statuses == Counter(succeeded=4)
    served_by = (await _view(pool, others[-1])).served_by
    assert served_by is not None and (served_by.kind, served_by.fetch_id) == (ServedByKind.COALESCED, first)
    assert (await _record(pool, leader, _response(*VALIDATED), seconds=33)).finished.statuses == Counter(succeeded=1)


async def test_followers_of_a_leader_that_nobody_takes_are_not_let_loose_when_workers_come(pool: Pool) -> None:
    leader = await _ask(pool, seconds=0)
    followers = [await _ask(pool, seconds=0) for _ in range(3)]
    for seconds in (31, 92, 153):
        await _promote(pool, seconds=seconds)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=154)] == [leader]
    await _record(pool, leader, failed(not_before=at(845)), seconds=155)  # it waits for its own retry, and they with it
    await _promote(pool, seconds=400)
    waiting = (await _view(pool, followers[0], seconds=400)).waiting
    assert waiting is not None and waiting.until is not None
    assert waiting.until == await _due(pool, leader) + timedelta(seconds=30 + FOLLOW_MARGIN_SECONDS) > at(800)
    await _promote(pool, seconds=2000)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=2000)] == [leader]
    assert (await _record(pool, leader, _response(), seconds=2001, dispatch_seq=2)).finished.statuses == Counter(succeeded=4)
    assert (await _view(pool, followers[0])).status is FetchStatus.SUCCEEDED


async def test_followers_of_a_leader_whose_worker_died_follow_its_next_dispatch(pool: Pool) -> None:
    leader = await _ask(pool, seconds=0)
    await _ask(pool, seconds=20)
    await _claim(pool, seconds=0)
    await _promote(pool, seconds=51)  # its lease ended at 40
    assert [fetch.command.id for fetch in await _claim(pool, seconds=51)] == [leader]
    assert (await _record(pool, leader, _response(), seconds=52, dispatch_seq=2)).finished.statuses == Counter(succeeded=2)


async def test_followers_whose_leader_an_earlier_release_finished_go_on(pool: Pool) -> None:
    leader, follower = await _ask(pool, seconds=0), await _ask(pool, seconds=0)
    await fetch_rows(pool, "DELETE FROM fetches WHERE id = $1", leader)
    await _promote(pool, seconds=31)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=31)] == [follower]


async def test_more_followers_than_a_batch_are_seen_to_without_a_rest(pool: Pool) -> None:
    await accept_events(pool, _event(seconds=0, fetches=BATCH_FETCHES + 2), now=at(0))
    await _claim(pool, seconds=0)
    promoter = FollowerPromoter(pool=pool)
    assert await promoter.run_once(now=at(31)) == 0
    assert await promoter.run_once(now=at(31)) > 0
    assert len(await _claim(pool, seconds=31)) == 2, "one of each batch"


async def test_an_outcome_older_than_a_follower_accepts_is_not_shared(pool: Pool) -> None:
    """The leader was answered before this one was accepted, and the answer was still on its way here."""
    leader = await _ask(pool, seconds=0, max_age_seconds=0.0)
    await _claim(pool, seconds=0)
    late, early = await _ask(pool, seconds=5, max_age_seconds=0.0), await _ask(pool, seconds=3, max_age_seconds=0.0)
    await _record(pool, leader, _response(*VALIDATED), seconds=4)
    assert (await _view(pool, early)).status is FetchStatus.SUCCEEDED
    assert [fetch.command.id for fetch in await _claim(pool, seconds=6)] == [late]


async def test_of_those_an_outcome_is_too_old_for_one_asks_and_the_others_follow(pool: Pool) -> None:
    leader = await _ask(pool, seconds=0, max_age_seconds=0.0)
    await _claim(pool, seconds=0)
    first, *others = sorted([await _ask(pool, seconds=5, max_age_seconds=0.0) for _ in range(3)])
    await _record(pool, leader, _response(*VALIDATED), seconds=4)
    assert [fetch.command.id for fetch in await _claim(pool, seconds=6)] == [first]
    assert (await _record(pool, first, _response(), seconds=7)).finished.reused == Counter(coalesced=len(others))


async def test_an_older_response_is_asked_about_and_a_304_tells_it_again(pool: Pool) -> None:
    source = await _stored(pool)
    fetch_id = await _ask(pool, seconds=100)
    (claimed,) = await _claim(pool, seconds=100)
    assert claimed.command.validators is not None
    assert (claimed.command.validators.fetch_id, claimed.command.validators.etag) == (source, '"a"')
    news = (("ETag", '"b"'), ("Content-Type", "no"), ("X-New", "2"))
    head = ResponseHead(status=304, headers=news, final_url="http://a.test/0")
    recorded = await _record(pool, fetch_id, Outcome(kind=OutcomeKind.NOT_MODIFIED, response=head), seconds=101)
    assert recorded.finished.reused == Counter(not_modified=1)
    view = await _view(pool, fetch_id)
    assert view.response is not None and view.response.status == 200
    assert view.response.headers == {"content-type": "text/plain", "x-old": "1", "etag": '"b"', "x-new": "2"}
    assert view.served_by is not None
    assert (view.served_by.kind, view.served_by.fetch_id, view.served_by.age_seconds) == (ServedByKind.NOT_MODIFIED, source, 0)
    later = (await _view(pool, await _ask(pool, seconds=150))).served_by
    assert later is not None and (later.kind, later.fetch_id, later.age_seconds) == (ServedByKind.CACHE, source, 49)


async def test_a_304_about_a_response_that_is_gone_asks_again_and_counts_nothing(pool: Pool) -> None:
    source = await _stored(pool)
    fetch_id = await _ask(pool, seconds=100, retries={"max": 0})
    await _claim(pool, seconds=100)
    await fetch_rows(pool, "DELETE FROM fetches WHERE id = $1", source)
    head = ResponseHead(status=304, final_url="http://a.test/0")
    not_modified = Outcome(kind=OutcomeKind.NOT_MODIFIED, response=head)
    await _record(pool, fetch_id, not_modified, seconds=101)
    (claimed,) = await _claim(pool, seconds=101)
    assert (claimed.command.id, claimed.command.validators) == (fetch_id, None)
    assert await _record(pool, fetch_id, not_modified, seconds=102) == Recorded()  # the old one once more
    recorded = await _record(pool, fetch_id, not_modified, seconds=103, dispatch_seq=2)  # to a question that was not asked
    assert recorded.finished.statuses == Counter(failed=1)


async def test_more_followers_than_fit_a_transaction_are_finished_by_the_loop(pool: Pool) -> None:
    event = _event(seconds=0, fetches=FOLLOWERS_AT_ONCE + 11)
    await accept_events(pool, event, now=at(0))
    await _claim(pool, seconds=0)
    recorded = await _record(pool, event.data.fetches[0].id, _response(*VALIDATED), seconds=1)
    assert recorded.finished.statuses == Counter(succeeded=FOLLOWERS_AT_ONCE + 1)
    finisher = FollowerFinisher(pool=pool, source="store/t", metrics=(metrics := StoreMetrics()))
    while not await finisher.run_once():
        pass
    assert await _count(pool, "fetch_queue") == await _count(pool, "finished_leaders") == 0
    assert metrics.registry.get_sample_value("fetchwork_reuse_total", {"kind": "coalesced"}) == 10


async def test_stores_that_accept_equal_fetches_at_once_agree_on_one_leader(pool: Pool) -> None:
    await asyncio.gather(*(accept_events(pool, _event(seconds=0, fetches=2), now=at(0)) for _ in range(8)))
    assert len(await _claim(pool, seconds=0)) == 1


async def test_no_follower_is_missed_while_its_leader_finishes(pool: Pool) -> None:
    """Accept and record race for one key: whoever is second sees what the first did."""
    for turn in range(15):
        host = f"h{turn}.test"
        first = accepted(1, host=host, max_age_seconds=3600.0)
        await accept_events(pool, first, now=None)
        leader = first.data.fetches[0].id
        await claim_each(pool, limit=10, leased_limit=1000, lease=LEASE, pace=PACE, now=None)
        event = attempted(leader, fetched()).model_copy(update={"finished_at": at(0) + timedelta(days=9999)})
        work = [Attempt(attempted=event)]
        await asyncio.gather(
            in_transaction(pool, partial(record, attempts=work, source="store/t", pace=PACE, now=None, jitter=lambda: 1.0)),
            *(accept_events(pool, accepted(1, host=host, max_age_seconds=3600.0), now=None) for _ in range(3)),
        )
    assert await _count(pool, "fetch_queue") == 0
