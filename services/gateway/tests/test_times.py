"""Priority and times of a submission: what is promised, what is refused and where, by the clock that the gateway was given."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchesAccepted
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH
from gateway_words import KEY, assert_problem
from little_store import TOKEN
from redis.asyncio import Redis

from gateway.app import create_app
from gateway.parts import open_means
from gateway.settings import GatewaySettings

NOW = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)
URL = "http://example.test/"


@pytest.fixture
async def later(gateway: Any, events: Redis, events_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller of a gateway whose clock stands at NOW, years from now."""
    settings = GatewaySettings.model_validate(
        {"api_key": KEY, "events_url": events_url, "store_token": TOKEN, "store_url": gateway.store_url, "metrics_port": 0}
    )
    async with open_means(settings, clock=lambda: NOW) as means:
        transport = httpx2.ASGITransport(app=create_app(means, settings))
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            yield client


async def _promised(events: Redis) -> Any:
    [(_, fields)] = await events.xrange(ACCEPTED_STREAM)
    event = Envelope[FetchesAccepted].model_validate_json(fields[b"event"])
    assert event.type == FETCH_ACCEPTED
    return event.data.fetches[0].request


async def test_priority_and_times_are_promised_and_shown(later: httpx2.AsyncClient, events: Redis) -> None:
    asked = {"url": URL, "priority": 9, "not_before": "2031-05-02T02:00:00.5+02:00", "expires_at": "2031-05-03T00:00:00z"}
    answer = await later.post("/v1/fetches", json=asked)
    assert answer.status_code == 202, answer.text
    for document in (answer.json(), (await later.get(answer.headers["location"])).json()):
        assert document["priority"] == 9 and document["expires_at"] == "2031-05-03T00:00:00Z"
        assert document["waiting"] == {"reason": "queue", "until": None}
    request = await _promised(events)
    assert (request.priority, request.delay_seconds) == (9, 0)
    assert request.not_before == datetime(2031, 5, 2, 0, 0, 0, 500_000, tzinfo=UTC)
    assert request.expires_at == datetime(2031, 5, 3, tzinfo=UTC)


async def test_what_was_not_said_is_the_default(later: httpx2.AsyncClient, events: Redis) -> None:
    document = (await later.post("/v1/fetches", json={"url": URL})).json()
    assert document["priority"] == 5 and document["expires_at"] is None
    request = await _promised(events)
    assert (request.priority, request.not_before, request.expires_at) == (5, None, None)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"priority": 10}, "#/priority", "9"),
    ({"priority": -1}, "#/priority", "0"),
    ({"priority": "9"}, "#/priority", "integer"),
    ({"priority": 1.5}, "#/priority", "integer"),
    ({"priority": True}, "#/priority", "integer"),
    ({"not_before": "2031-05-02T00:00:00"}, "#/not_before", "offset"),
    ({"not_before": "2031-05-02"}, "#/not_before", "offset"),
    ({"not_before": "20310502T000000Z"}, "#/not_before", "RFC 3339"),
    ({"not_before": 1935662400}, "#/not_before", "RFC 3339"),
    ({"not_before": "2031-02-30T00:00:00Z"}, "#/not_before", "no such time"),
    ({"not_before": "2031-05-02T00:00:00+99:99"}, "#/not_before", "no such time"),
    ({"not_before": "0001-01-01T00:00:00+12:00"}, "#/not_before", "no such time"),
    ({"not_before": "2031-05-31T12:00:01Z"}, "#/not_before", "30 days"),
    ({"not_before": "2031-05-02T00:00:00Z", "delay_seconds": 1}, "#/not_before", "delay_seconds"),
    ({"expires_at": "2031-05-02T00:00:00"}, "#/expires_at", "offset"),
    ({"expires_at": "2031-05-01T12:00:00Z"}, "#/expires_at", "passed"),
    ({"expires_at": "2031-05-01T13:00:00+02:00"}, "#/expires_at", "passed"),
    ({"expires_at": "2031-05-01T12:00:10Z", "delay_seconds": 10}, "#/expires_at", "earliest start"),
    ({"expires_at": "2031-05-02T00:00:00Z", "not_before": "2031-05-02T00:00:00Z"}, "#/expires_at", "earliest start"),
    ({"expires_at": "2031-06-30T12:00:01Z"}, "#/expires_at", "60 days"),
]


@pytest.mark.parametrize(("members", "pointer", "words"), REFUSED, ids=[str(row[0])[:70] for row in REFUSED])
async def test_what_cannot_be_is_refused_where_it_stands(
    later: httpx2.AsyncClient, events: Redis, members: dict[str, Any], pointer: str, words: str
) -> None:
    answer = await later.post("/v1/fetches", json={"url": URL, **members})
    document = assert_problem(answer, 422, "invalid-request", is_traced=False)
    [error] = document["errors"]
    assert error["pointer"] == pointer and words in error["detail"]
    assert document["detail"].startswith("1 member ")
    assert not await events.xlen(ACCEPTED_STREAM) and not await events.exists(INGESTING_HASH)


async def test_all_faults_of_times_are_named_at_once(later: httpx2.AsyncClient) -> None:
    members = {"not_before": "2031-07-01T00:00:00Z", "expires_at": "2031-04-01T00:00:00Z"}
    answer = await later.post("/v1/fetches", json={"url": URL, **members})
    document = assert_problem(answer, 422, "invalid-request", is_traced=False)
    assert [error["pointer"] for error in document["errors"]] == ["#/not_before", "#/expires_at"]


ACCEPTED: list[dict[str, Any]] = [
    {"priority": 0},
    {"not_before": None, "expires_at": None, "delay_seconds": 3},
    {"not_before": "2031-05-02T00:00:00Z", "delay_seconds": 0},
    {"not_before": "2020-01-01T00:00:00Z"},
    {"not_before": "2031-05-31T12:00:00Z"},
    {"not_before": "2020-01-01T00:00:00Z", "expires_at": "2031-05-01T12:00:00.000001Z"},
    {"expires_at": "2031-05-01T12:00:11Z", "delay_seconds": 10},
    {"expires_at": "2031-06-30T12:00:00Z"},
]


@pytest.mark.parametrize("members", ACCEPTED, ids=str)
async def test_what_is_just_inside_is_accepted(later: httpx2.AsyncClient, members: dict[str, Any]) -> None:
    answer = await later.post("/v1/fetches", json={"url": URL, **members})
    assert answer.status_code == 202, answer.text
