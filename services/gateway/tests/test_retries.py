"""Retry over REST: a new fetch with the request, labels and attrs of one that has ended, promised like any other."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted, FetchRequest, FetchStatus
from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD
from gateway_words import assert_problem
from redis.asyncio import Redis

from gateway.routes.retries import without_past_times

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
REQUEST = FetchRequest(
    url="http://a.test/order", method="POST", body="n=1", headers={"X-A": "1"}, priority=9, max_age_seconds=60,
    not_before=NOW - HOUR, expires_at=NOW - HOUR / 2,
)


def _end(gateway: Any, status: FetchStatus) -> UUID:
    """A fetch with this status, accepted in a batch with labels and attrs."""
    members = {"labels": ("shop",), "attrs": {"sku": "A-7"}, "batch_id": new_fetch_id()}
    fetch_id: UUID = gateway.store.keep(None, status=status, **members)
    gateway.store.accepted[fetch_id] = AcceptedFetch(id=fetch_id, host="a.test", accepted_at=NOW, request=REQUEST, **members)
    return fetch_id


async def _promised(events: Redis) -> list[AcceptedFetch]:
    entries: Any = await events.xrange(ACCEPTED_STREAM)
    found = [Envelope[FetchesAccepted].model_validate_json(fields[EVENT_FIELD]) for _, fields in entries]
    assert all(event.type == FETCH_ACCEPTED for event in found)
    return [fetch for event in found for fetch in event.data.fetches]


@pytest.mark.parametrize("status", [status for status in FetchStatus if status.is_terminal])
async def test_a_retry_is_a_new_promise_of_the_same_request(
    client: httpx2.AsyncClient, gateway: Any, events: Redis, status: FetchStatus
) -> None:
    ended = _end(gateway, status)
    answer = await client.post(f"/v1/fetches/{ended}/retry")
    document = answer.json()
    assert answer.status_code == 202 and document["status"] == "queued"
    assert answer.headers["location"] == f"/v1/fetches/{document['id']}" and document["id"] != str(ended)
    assert document["labels"] == ["shop"] and document["attrs"] == {"sku": "A-7"} and document["batch_id"] is None
    [promised] = await _promised(events)
    assert promised.id == UUID(document["id"]) and promised.host == "a.test" and promised.tenant == "default"
    assert promised.request == REQUEST.model_copy(update={"not_before": None, "expires_at": None})
    assert (promised.labels, promised.attrs, promised.batch_id) == (("shop",), {"sku": "A-7"}, None)


@pytest.mark.parametrize("status", [FetchStatus.QUEUED, FetchStatus.RUNNING])
async def test_what_is_pending_is_not_retried(
    client: httpx2.AsyncClient, gateway: Any, events: Redis, status: FetchStatus
) -> None:
    answer = await client.post(f"/v1/fetches/{_end(gateway, status)}/retry")
    assert_problem(answer, 409, "not-finished")
    assert answer.headers["retry-after"] and await _promised(events) == []


async def test_a_promise_that_is_not_in_the_ledger_is_pending(client: httpx2.AsyncClient, gateway: Any) -> None:
    promised = (await client.post("/v1/fetches", json={"url": "http://a.test/"})).json()
    assert_problem(await client.post(f"/v1/fetches/{promised['id']}/retry"), 409, "not-finished")


async def test_what_is_not_there_or_not_ones_own_is_not_retried(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    others = _end(gateway, FetchStatus.FAILED)
    gateway.store.tenants[others] = "other"
    for fetch_id in (others, new_fetch_id(), "x"):
        assert_problem(await client.post(f"/v1/fetches/{fetch_id}/retry"), 404, "not-found")
    assert await _promised(events) == []


async def test_without_the_store_nothing_is_promised(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    ended = _end(gateway, FetchStatus.FAILED)
    gateway.store.is_broken = True
    assert_problem(await client.post(f"/v1/fetches/{ended}/retry"), 503, "store-unavailable")
    assert await _promised(events) == []


@pytest.mark.parametrize(
    ("start", "delay_seconds", "end", "kept"),
    [
        (None, 0, HOUR, (None, HOUR)),
        (-HOUR, 0, HOUR, (None, HOUR)),
        (HOUR, 0, 2 * HOUR, (HOUR, 2 * HOUR)),
        (HOUR, 0, None, (HOUR, None)),
        (HOUR, 0, HOUR, (HOUR, None)),
        (None, 0, -HOUR, (None, None)),
        (None, 0, timedelta(0), (None, None)),
        (None, 3600, HOUR / 2, (None, None)),
    ],
)
def test_times_that_have_passed_are_left_out(
    start: timedelta | None, delay_seconds: float, end: timedelta | None, kept: tuple[timedelta | None, timedelta | None]
) -> None:
    def at(offset: timedelta | None) -> datetime | None:
        return None if offset is None else NOW + offset

    request = FetchRequest(url="http://a.test/", delay_seconds=delay_seconds, not_before=at(start), expires_at=at(end))
    left = without_past_times(request, now=NOW)
    assert (left.not_before, left.expires_at) == (at(kept[0]), at(kept[1]))
    assert left.delay_seconds == delay_seconds
