"""Reports: what is ready leaves together, large bodies go first to the store, and nothing is tried for ever."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from common.clock import utc_now
from common.contracts.catalog import FETCH_ATTEMPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchAttempted, Outcome, OutcomeKind, ResponseHead
from common.ids import new_fetch_id
from common.streams.connection import connect_redis
from common.streams.names import ATTEMPTED_STREAM
from common.streams.publisher import Publication
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from redis.asyncio import Redis

from fetcher.body import PackedBody, pack_body
from fetcher.metrics import FetcherMetrics
from fetcher.report import PUBLISH_LIMIT, Reporter, StoreAddress, store_session
from fetcher.slots import Slots

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]
TOKEN = "0123456789abcdef"


def _publication(packed: PackedBody | None = None, *, header: str = "fine") -> Publication:
    head = ResponseHead(status=200, headers=(("x", header),), final_url="http://example.com/")
    outcome = Outcome(kind=OutcomeKind.FETCHED, response=head, body=packed.reference if packed else None)
    now, identifier = utc_now(), new_fetch_id()
    data = FetchAttempted(id=identifier, dispatch_seq=1, worker="w", started_at=now, finished_at=now, outcome=outcome)
    event = Envelope[FetchAttempted].wrap(
        data, type=FETCH_ATTEMPTED, source="test", subject=str(identifier), now=now, traceparent=None
    )
    return Publication(event=event, body=packed.data if packed else None)


@pytest.fixture
def metrics() -> FetcherMetrics:
    """Metrics of this test alone."""
    return FetcherMetrics(Slots(1))


@pytest.fixture
async def start_reporter(metrics: FetcherMetrics) -> AsyncIterator[Callable[..., Awaitable[Reporter]]]:
    """Start a reporter over a Redis client."""
    running = []
    async with store_session() as session:

        async def start(redis: Redis, *, store: str = "http://127.0.0.1:1") -> Reporter:
            address = StoreAddress(url=store, token=TOKEN)
            reporter = Reporter(redis, store=address, session=session, metrics=metrics, clock=utc_now)
            running.append(asyncio.create_task(reporter.run()))
            return reporter

        yield start
        for task in running:
            task.cancel()


def _in(seconds: float) -> Any:
    return utc_now() + timedelta(seconds=seconds)


async def test_small_body_travels_inside_the_entry(events: Redis, start_reporter: Any) -> None:
    packed = await pack_body(bytearray(b"hello" * 100))
    assert packed is not None
    publication = _publication(packed)
    reporter = await start_reporter(events)
    assert await reporter.report(publication, reference=packed.reference, until=_in(5))
    [(_, fields)] = await events.xrange(ATTEMPTED_STREAM)
    assert fields[b"body"] == packed.data
    event = Envelope[FetchAttempted].model_validate_json(fields[b"event"])
    assert (event.type, event.data) == (FETCH_ATTEMPTED, publication.event.data)


async def test_outcomes_that_are_ready_together_leave_together(
    events: Redis, start_reporter: Any, metrics: FetcherMetrics
) -> None:
    reporter = await start_reporter(events)
    await events.config_resetstat()
    count = 5 * PUBLISH_LIMIT // 2
    assert all(await asyncio.gather(*(reporter.report(_publication(), reference=None, until=_in(5)) for _ in range(count))))
    assert await events.xlen(ATTEMPTED_STREAM) == count
    assert metrics.registry.get_sample_value("fetchwork_outcomes_published_total") == count
    assert (await events.info("stats"))["total_reads_processed"] < count / 2


async def test_large_body_goes_to_the_store_before_its_event(
    events: Redis, start_reporter: Any, serve: Serve, incompressible: bytes
) -> None:
    stored: dict[str, Any] = {}
    failures = [503]

    async def put(request: web.Request) -> web.Response:
        assert await events.xlen(ATTEMPTED_STREAM) == 0
        if failures:
            return web.Response(status=failures.pop())
        stored.update(request.headers, method=request.method, digest=request.match_info["digest"], body=await request.read())
        return web.Response(status=204)

    packed = await pack_body(bytearray(incompressible))
    assert packed is not None
    reporter = await start_reporter(events, store=await serve({"/internal/v1/contents/{digest}": put}))
    assert await reporter.report(_publication(packed), reference=packed.reference, until=_in(5))
    assert (stored["method"], stored["digest"], stored["body"]) == ("PUT", packed.reference.digest, packed.data)
    assert (stored["Authorization"], stored["Content-Type"]) == (f"Bearer {TOKEN}", "application/zstd")
    assert stored["X-Content-Size-Bytes"] == str(len(incompressible))
    [(_, fields)] = await events.xrange(ATTEMPTED_STREAM)
    assert b"body" not in fields and json.loads(fields[b"event"])["data"]["outcome"]["body"]["is_inline"] is False


async def test_large_body_that_cannot_be_stored_is_given_up_with_its_lease(
    events: Redis, start_reporter: Any, incompressible: bytes, metrics: FetcherMetrics
) -> None:
    packed = await pack_body(bytearray(incompressible))
    assert packed is not None
    reporter = await start_reporter(events)
    assert not await reporter.report(_publication(packed), reference=packed.reference, until=_in(0.3))
    assert await events.xlen(ATTEMPTED_STREAM) == 0
    assert metrics.registry.get_sample_value("fetchwork_outcomes_unpublished_total") == 1


async def test_outcomes_survive_an_outage_shorter_than_their_lease(start_reporter: Any, until: Until, tmp_path: Any) -> None:
    port = free_port()
    with embedded_redis(tmp_path, port=port) as url:
        client = connect_redis(url)
        reporter = await start_reporter(client)
        assert await reporter.report(_publication(), reference=None, until=_in(5))
    waiting = reporter.report(_publication(), reference=None, until=_in(20))
    ended = reporter.report(_publication(), reference=None, until=_in(0.2))
    assert await asyncio.wait_for(ended, timeout=5) is False
    with embedded_redis(tmp_path, port=port):
        assert await asyncio.wait_for(waiting, timeout=10)
        assert await client.xlen(ATTEMPTED_STREAM) == 2
    await client.aclose()


async def test_outcome_that_cannot_be_written_down_holds_up_no_other(events: Redis, start_reporter: Any) -> None:
    reporter = await start_reporter(events)
    publications = [_publication(), _publication(header="\ud800"), _publication()]
    reports = [reporter.report(publication, reference=None, until=_in(5)) for publication in publications]
    assert await asyncio.gather(*reports) == [True, False, True]
    assert await events.xlen(ATTEMPTED_STREAM) == 2
