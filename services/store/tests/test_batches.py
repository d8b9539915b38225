"""Batches in the ledger: their counts follow their fetches, whatever becomes of them, and nobody else sees them."""

from typing import Any
from uuid import UUID

import pytest
from api_words import open_caller
from common.contracts.batches import AcceptedBatch, BatchError, BatchView
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted, FetchRequest
from common.ids import new_fetch_id
from common.streams.consumer import StreamEntry
from ledger_words import NOW, PACE, accept_events, at, attempted, claim_each, failed, fetched, wrap_accepted
from redis.asyncio import Redis
from store.batches.read import read_batch
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.fetches.cancel import cancel_fetch
from store.fetches.record import Attempt, record
from store.handlers import AcceptHandler, Delivery
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
KEY = "abcdefghijkl"
REFUSED = BatchError(line=3, problem={"type": "/problems/invalid-request", "detail": "no \0 here"})


def _batch(**members: Any) -> AcceptedBatch:
    given: dict[str, Any] = {"id": new_fetch_id(), "key_id": KEY, "accepted_at": NOW, "accepted": 6, "rejected": 1}
    return AcceptedBatch(**given | {"errors": (REFUSED,)} | members)


def _event(batch: AcceptedBatch, *, fetches: int = 6, is_last: bool = True) -> Envelope[FetchesAccepted]:
    ids = [new_fetch_id() for _ in range(fetches)]
    event = wrap_accepted(
        [
            AcceptedFetch(
                id=identifier,
                host="a.test",
                accepted_at=NOW,
                request=FetchRequest(url=f"http://a.test/{identifier}"),
                tenant=batch.tenant,
                key_id=batch.key_id,
                batch_id=batch.id,
            )
            for identifier in ids
        ]
    )
    data = event.data.model_copy(update={"batch": batch if is_last else None})
    return event.model_copy(update={"data": data})


async def _view(pool: Pool, batch: AcceptedBatch, *, seconds: float = 1) -> BatchView:
    view = await read_batch(pool, batch.id, tenant=batch.tenant, now=at(seconds))
    assert view is not None
    return view


async def _record(pool: Pool, fetch_id: UUID, *, is_success: bool) -> None:
    outcome = fetched() if is_success else failed(is_retryable=False)
    attempt = Attempt(attempted=attempted(fetch_id, outcome))
    await in_transaction(pool, lambda c: record(c, [attempt], source="store/t", pace=PACE, now=at(1), jitter=lambda: 1.0))


async def test_the_counts_of_a_batch_follow_its_fetches(pool: Pool) -> None:
    batch = _batch()
    event = _event(batch)
    await accept_events(pool, event, now=at(0))
    view = await _view(pool, batch)
    assert (view.total, view.rejected, view.counts.queued, view.finished) == (6, 1, 6, False)
    assert [error.line for error in view.errors] == [3]
    out = [
        claimed.command.id
        for claimed in await claim_each(pool, limit=4, leased_limit=4, lease=LEASE, pace=PACE, now=at(0))
    ]
    view = await _view(pool, batch)
    assert (view.counts.running, view.counts.queued) == (4, 2)
    await _record(pool, out[0], is_success=True)
    await _record(pool, out[1], is_success=False)
    await in_transaction(pool, lambda c: cancel_fetch(c, out[2], source="store/t", now=at(1)))
    view = await _view(pool, batch)
    assert view.counts.model_dump() == {
        "queued": 2, "running": 1, "succeeded": 1, "failed": 1, "cancelled": 1, "expired": 0,
    }  # fmt: skip
    for fetch in event.data.fetches:
        await in_transaction(pool, lambda c, i=fetch.id: cancel_fetch(c, i, source="store/t", now=at(1)))  # type: ignore[misc]
    view = await _view(pool, batch)
    assert view.finished and view.counts.cancelled == 4
    of_key = "SELECT name, sum(fetches)::int AS fetches FROM key_counts WHERE key_id = $1 GROUP BY name"
    counted = await fetch_rows(pool, of_key, KEY)
    assert {row["name"]: row["fetches"] for row in counted} == {"accepted": 6, "finished": 6}


async def test_delivered_again_nothing_is_counted_twice(pool: Pool) -> None:
    batch = _batch()
    event = _event(batch)
    for _ in range(2):
        await accept_events(pool, event, now=at(0))
    for _ in range(2):
        await _record(pool, event.data.fetches[0].id, is_success=True)
    view = await _view(pool, batch)
    assert (view.total, view.counts.queued, view.counts.succeeded) == (6, 5, 1)
    counted = await fetch_rows(pool, "SELECT name, sum(fetches)::int AS fetches FROM key_counts GROUP BY name ORDER BY name")
    assert [(row["name"], row["fetches"]) for row in counted] == [("accepted", 6), ("finished", 1)]


async def test_a_submission_that_broke_off_ends_once_more_and_then_stays(pool: Pool) -> None:
    batch = _batch(accepted=2, is_whole=False)
    await accept_events(pool, _event(batch, fetches=2), now=at(0))
    assert not (await _view(pool, batch)).is_whole
    whole = batch.model_copy(update={"accepted": 6, "rejected": 0, "errors": (), "is_whole": True})
    await accept_events(pool, _event(whole, fetches=4), now=at(0))
    view = await _view(pool, batch)
    assert (view.total, view.rejected, view.is_whole, view.errors) == (6, 0, True, [])
    for late in (batch, whole.model_copy(update={"accepted": 99})):
        await accept_events(pool, _event(late, fetches=0), now=at(0))
    assert (await _view(pool, batch)).total == 6


async def test_a_batch_of_another_tenant_is_neither_seen_nor_changed(pool: Pool) -> None:
    batch = _batch(is_whole=False)
    await accept_events(pool, _event(batch), now=at(0))
    assert await read_batch(pool, batch.id, tenant="other") is None
    await accept_events(pool, _event(batch.model_copy(update={"tenant": "other", "accepted": 1}), fetches=0), now=at(0))
    assert await read_batch(pool, batch.id, tenant="other") is None
    assert (await _view(pool, batch)).total == 6


@pytest.mark.parametrize("fetches", [0, 1, 5])
def test_an_event_that_is_divided_carries_its_batch_once(fetches: int) -> None:
    handler = AcceptHandler(
        metrics=StoreMetrics(),
        source="s",
        coalesce_wait_seconds=1,
        priority_step_seconds=1,
        wake_dispatcher=lambda: None,
        wake_relay=lambda: None,
    )
    event = _event(_batch(), fetches=fetches)
    halves = handler.halves(Delivery(entry=StreamEntry(id="1-0", event=b""), event=event))
    assert [half.event.data.batch is not None for half in halves] == ([False, True] if fetches > 1 else [])
    assert [fetch for half in halves for fetch in half.event.data.fetches] == (list(event.data.fetches) if halves else [])


async def test_the_internal_api_shows_batches_lists_and_requests_of_their_tenant_alone(pool: Pool, events: Redis) -> None:
    batch = _batch()
    event = _event(batch)
    await accept_events(pool, event, now=None)
    fetch = event.data.fetches[0]
    async with open_caller(pool, events) as caller:
        found = await caller.http.get(f"/internal/v1/batches/{batch.id}", params={"tenant": "default"})
        assert (found.status_code, found.json()["total"]) == (200, 6)
        page = await caller.http.get("/internal/v1/fetches", params={"tenant": "default", "batch_id": str(batch.id), "limit": 4})
        rest = await caller.http.get(
            "/internal/v1/fetches", params={"tenant": "default", "batch_id": str(batch.id), "after": page.json()["next_cursor"]}
        )
        listed = [item["id"] for item in page.json()["items"] + rest.json()["items"]]
        assert listed == [str(one.id) for one in event.data.fetches[::-1]] and rest.json()["next_cursor"] is None
        asked = await caller.http.get(f"/internal/v1/fetches/{fetch.id}/request", params={"tenant": "default"})
        assert AcceptedFetch.model_validate_json(asked.content) == fetch
        theirs = {"tenant": "other"}
        for method, path in (
            ("GET", f"/internal/v1/batches/{batch.id}"),
            ("GET", f"/internal/v1/fetches/{fetch.id}"),
            ("GET", f"/internal/v1/fetches/{fetch.id}/request"),
            ("GET", f"/internal/v1/fetches/{fetch.id}/content"),
            ("DELETE", f"/internal/v1/fetches/{fetch.id}"),
        ):
            assert (await caller.http.request(method, path, params=theirs)).status_code == 404, path
        assert (await caller.http.get("/internal/v1/fetches", params=theirs)).json()["items"] == []
        assert (await caller.http.get(f"/internal/v1/fetches/{fetch.id}")).json()["status"] == "queued"
