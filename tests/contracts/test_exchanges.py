"""Each pair of a caller and a service still understands each other when either of them is of an earlier release."""

import asyncio
import json
from datetime import timedelta

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.fetches import BodyReference
from common.streams.publisher import Publication
from exchanges import KEY, TOKEN, Exchange, load_exchanges, named, play
from fetcher.metrics import FetcherMetrics
from fetcher.report import Reporter, StoreAddress, store_session
from fetcher.slots import Slots
from fetchwork import Client, NotAuthorized, NotFound, ProblemError
from recorded_events import recorded_event
from redis.asyncio import Redis

STORED = load_exchanges("store")
PUBLISHED = load_exchanges("gateway")
UPLOAD_SECONDS = 10
SENT_BY_A_FETCHER = ("authorization", "content-type", "x-content-size-bytes")


def _id(exchange: Exchange) -> str:
    return exchange.path.split("/")[3]


@pytest.mark.parametrize("exchange", STORED, ids=lambda exchange: exchange.name)
async def test_todays_store_answers_gateways_and_fetchers_of_then(store: httpx2.AsyncClient, exchange: Exchange) -> None:
    assert exchange.differs_from(await exchange.ask(store)) == []


@pytest.mark.parametrize("exchange", PUBLISHED, ids=lambda exchange: exchange.name)
async def test_todays_gateway_reads_stores_and_answers_clients_of_then(gateway: httpx2.AsyncClient, exchange: Exchange) -> None:
    assert exchange.differs_from(await exchange.ask(gateway)) == []


@pytest.mark.parametrize("name", ["fetch-succeeded", "fetch-failed", "fetch-waiting"])
async def test_todays_sdk_reads_a_fetch_of_then(name: str) -> None:
    exchange = named("gateway", name)
    async with play([exchange]) as (url, _), Client(url, KEY) as client:
        fetch = await client.get(_id(exchange))
    document = exchange.answer.document
    assert (fetch.id, fetch.status) == (document["id"], document["status"])
    assert fetch.is_finished is (document["finished_at"] is not None)
    if fetch.response is not None:
        assert fetch.response.model_dump() == document["response"]
    assert (fetch.error.type if fetch.error else None) == (document["error"] or {}).get("type")
    assert (fetch.waiting.reason if fetch.waiting else None) == (document["waiting"] or {}).get("reason")
    assert [attempt.outcome for attempt in fetch.attempts] == [attempt["outcome"] for attempt in document["attempts"]]


async def test_todays_sdk_reads_content_of_then() -> None:
    exchange = named("gateway", "content")
    async with play([exchange]) as (url, _), Client(url, KEY) as client:
        assert await client.content(_id(exchange)) == exchange.answer.content


@pytest.mark.parametrize(
    ("name", "error"), [("unknown", NotFound), ("unauthenticated", NotAuthorized), ("submit-invalid", ProblemError)]
)
async def test_todays_sdk_reads_a_problem_of_then(name: str, error: type[ProblemError]) -> None:
    exchange = named("gateway", name)
    async with play([exchange]) as (url, _), Client(url, KEY) as client:
        with pytest.raises(error) as raised:
            await (client.submit("ftp://a.test/") if exchange.method == "POST" else client.get(_id(exchange)))
    assert (raised.value.status, raised.value.type) == (exchange.status, exchange.answer.document["type"])


async def test_todays_sdk_asks_what_gateways_of_then_understand() -> None:
    """They refuse members that they do not know, so it may only send what was sent then."""
    exchange = named("gateway", "submit-all-members")
    asks = dict(exchange.request.document)
    del asks["retries"]  # the SDK has no argument for it
    async with play([exchange]) as (url, asked), Client(url, KEY) as client:
        fetch = await client.submit(**asks)
    assert fetch.id == exchange.answer.document["id"]
    assert [(one.method, one.path, json.loads(one.content)) for one in asked] == [("POST", "/v1/fetches", asks)]
    assert asked[0].headers["authorization"] == exchange.request.headers["authorization"]


async def test_todays_fetcher_uploads_as_stores_of_then_expect(events: Redis) -> None:
    exchange = named("store", "upload")
    size = int(exchange.request.headers["x-content-size-bytes"])
    digest, content = exchange.path.rpartition("/")[2], exchange.request.content
    reference = BodyReference(digest=digest, size_bytes=size, compressed_bytes=len(content), is_inline=False)
    publication = Publication(event=recorded_event("fetch.attempted.v1.page"), body=content)
    async with play([exchange]) as (url, asked), store_session() as session:
        store = StoreAddress(url=url, token=TOKEN)
        reporter = Reporter(events, store=store, session=session, metrics=FetcherMetrics(Slots(1)), clock=utc_now)
        running = asyncio.create_task(reporter.run())
        assert await reporter.report(publication, reference=reference, until=utc_now() + timedelta(seconds=UPLOAD_SECONDS))
        running.cancel()
    [upload] = asked
    assert (upload.method, upload.path, upload.content) == ("PUT", exchange.path, content)
    assert {name: upload.headers[name] for name in SENT_BY_A_FETCHER} == exchange.request.headers
