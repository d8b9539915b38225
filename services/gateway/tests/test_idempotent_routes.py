"""Any other POST with an Idempotency-Key: what is final is replayed, what failed is tried again, and no secret lies at rest."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.dead_letters import DeadLetterView
from common.streams.names import ACCEPTED_STREAM
from gateway_words import assert_problem
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from test_idempotent_submit import KEYED, assert_replay

from gateway.idempotency.keys import RECORD_PREFIX
from gateway.idempotency.limits import STANDARD, RecordLimits
from gateway.idempotency.middleware import Idempotency
from gateway.idempotency.records import IdempotencyRecords
from gateway.metrics import GatewayMetrics
from gateway.principal import Principal

SECRET = "ftch_live_a-secret-that-is-shown-once"
REDRIVE = "/v1/dead-letters/7/redrive"
WAIT_SECONDS = 10
Route = Callable[[Request], Awaitable[Response]]


@pytest.fixture
def letter(gateway: Any) -> DeadLetterView:
    """A message that could not be applied."""
    view = DeadLetterView(id=7, stream="s", entry_id="7-0", reason="r", created_at=utc_now(), size_bytes=2, text="{}")
    gateway.store.dead_letters[7] = view
    return view


def _redrives(gateway: Any) -> int:
    return sum(1 for _, path, _, _ in gateway.store.asked if path.endswith("/redrive"))


async def test_an_answer_is_replayed_and_the_work_done_once(
    client: httpx2.AsyncClient, gateway: Any, letter: DeadLetterView
) -> None:
    first = await client.post(REDRIVE, headers=KEYED)
    assert first.status_code == 200 and first.headers["cache-control"] == "no-store"
    assert_replay(await client.post(REDRIVE, headers=KEYED), first)
    assert _redrives(gateway) == 1


async def test_a_refusal_is_replayed_too(client: httpx2.AsyncClient, gateway: Any) -> None:
    first = await client.post(REDRIVE, headers=KEYED)
    assert_problem(first, 404, "not-found")
    gateway.store.dead_letters[7] = None
    assert_replay(await client.post(REDRIVE, headers=KEYED), first)
    assert _redrives(gateway) == 1


async def test_a_failure_on_our_side_is_tried_again(client: httpx2.AsyncClient, gateway: Any, letter: DeadLetterView) -> None:
    gateway.store.is_without_events = True
    assert_problem(await client.post(REDRIVE, headers=KEYED), 503, "store-unavailable")
    gateway.store.is_without_events = False
    answer = await client.post(REDRIVE, headers=KEYED)
    assert answer.status_code == 200 and "idempotency-replayed" not in answer.headers
    assert _redrives(gateway) == 2


async def test_one_of_many_at_once_works_and_the_others_are_told(
    client: httpx2.AsyncClient, gateway: Any, letter: DeadLetterView
) -> None:
    answers = await asyncio.gather(*(client.post(REDRIVE, headers=KEYED) for _ in range(32)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    for answer in (answer for answer in answers if answer.status_code == 409):
        assert_problem(answer, 409, "idempotency-key-in-flight")
        assert int(answer.headers["retry-after"]) >= 1
    assert _redrives(gateway) == 1


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_half_a_body_takes_no_key(
    client: httpx2.AsyncClient, gateway: Any, letter: DeadLetterView, events: Redis, is_chunked: bool
) -> None:
    """What broke off on its way is not the request that its key stands for."""
    address = httpx2.URL(gateway.url)
    framing = "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n" if is_chunked else "Content-Length: 2\r\n\r\n{"
    fields = "".join(f"{name}: {value}\r\n" for name, value in KEYED.items())
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"POST {REDRIVE} HTTP/1.1\r\nHost: g\r\n{fields}{framing}".encode())
    await writer.drain()
    writer.close()
    async with asyncio.timeout(WAIT_SECONDS):
        while await _in_progress(gateway):
            await asyncio.sleep(0.02)
    assert not await events.keys(f"{RECORD_PREFIX}*")
    assert (await client.post(REDRIVE, content=b"{}", headers=KEYED)).status_code == 200


async def _in_progress(gateway: Any) -> bool:
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        return "fetchwork_http_requests_in_progress 0.0" not in (await operator.get("/metrics")).text


class _Counted:
    """A route that a test plays, behind the middleware, and how often it was asked; `bearer` is what callers present."""

    def __init__(self, redis: Redis, route: Route, *, limits: RecordLimits = STANDARD) -> None:
        self.calls: list[Any] = []
        self.metrics = GatewayMetrics()
        self.records = IdempotencyRecords(redis, limits=limits, clock=utc_now, metrics=self.metrics, timeout_seconds=5)
        self._route = route
        self._app = Idempotency(self._answer, records=self.records)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.calls.append((await request.body(), request.state.reserved))
        await (await self._route(request))(scope, receive, send)

    async def _known(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["principal"] = Principal(actor="key:test")
        await self._app(scope, receive, send)

    async def post(self, content: bytes = b"{}", *, bearer: str = "mine", path: str = "/v1/keys") -> httpx2.Response:
        """What a caller is answered."""
        transport = httpx2.ASGITransport(app=self._known, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as caller:
            headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": "one"}
            return await caller.post(path, content=content, headers=headers)

    def kept(self, result: str) -> float | None:
        """How many answers were kept, or were not."""
        return self.metrics.registry.get_sample_value("fetchwork_idempotency_answers_total", {"result": result})


async def test_a_secret_is_sealed_at_rest_and_told_to_its_owner_only(events: Redis) -> None:
    async def make_key(request: Request) -> Response:
        return JSONResponse({"secret": SECRET}, status_code=201, headers={"Location": f"/v1/keys/{SECRET}"})

    route = _Counted(events, make_key)
    first = await route.post()
    assert first.json() == {"secret": SECRET}
    assert_replay(await route.post(), first)
    assert_problem(await route.post(bearer="another"), 422, "idempotency-key-reused", is_traced=False)
    assert len(route.calls) == 1
    keys = [key for key in await events.keys("*") if key != ACCEPTED_STREAM.encode()]
    at_rest = [value for key in keys for value in (await _dump(events, key))]
    assert any(len(value) > 100 for value in at_rest)
    for value in at_rest:
        assert SECRET.encode() not in value and b"mine" not in value and b"location" not in value


async def _dump(redis: Redis, key: bytes) -> list[bytes]:
    if await redis.type(key) == b"hash":
        return [part for pair in (await redis.hgetall(key)).items() for part in pair]
    return [await redis.get(key)]


async def test_who_comes_while_the_first_is_under_way_is_told(events: Redis) -> None:
    is_under_way, may_end = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        is_under_way.set()
        await may_end.wait()
        return JSONResponse({"n": 1})

    route = _Counted(events, slow)
    first = asyncio.create_task(route.post())
    await is_under_way.wait()
    refusal = await route.post()
    assert_problem(refusal, 409, "idempotency-key-in-flight", is_traced=False)
    assert int(refusal.headers["retry-after"]) >= 1
    assert_problem(await route.post(b"[]"), 422, "idempotency-key-reused", is_traced=False)
    may_end.set()
    assert_replay(await route.post() if await first else refusal, await first)
    assert len(route.calls) == 1


@pytest.mark.parametrize("status", [500, 503, 429, 409, 307])
async def test_what_is_not_final_is_not_replayed(events: Redis, status: int) -> None:
    async def refuse(request: Request) -> Response:
        return Response(status_code=status, headers={"Retry-After": "1", "Location": "/"})

    route = _Counted(events, refuse)
    answers = [await route.post() for _ in range(2)]
    assert {answer.status_code for answer in answers} == {status}
    assert len(route.calls) == 2 and not any("idempotency-replayed" in answer.headers for answer in answers)
    is_same = route.calls[0][1] == route.calls[1][1]
    assert is_same is (status >= 500), "only what may have happened has its id again"


async def test_after_a_fault_of_ours_the_same_id_comes_again(events: Redis) -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError

    route = _Counted(events, fail)
    assert {(await route.post()).status_code for _ in range(2)} == {500}
    assert route.calls[0] == route.calls[1]


@pytest.mark.parametrize(
    ("limits", "result"),
    [(RecordLimits(answer_bytes=2000), "too_large"), (RecordLimits(answers_of_tenant_bytes=2000), "over_budget")],
)
async def test_an_answer_beyond_the_limits_is_made_again_with_the_same_id(
    events: Redis, limits: RecordLimits, result: str
) -> None:
    async def talk(request: Request) -> Response:
        return Response(b"x" * 3000)

    route = _Counted(events, talk, limits=limits)
    assert [len((await route.post()).content) for _ in range(2)] == [3000, 3000]
    assert route.calls[0] == route.calls[1] and len(route.calls) == 2
    assert route.kept(result) == 2 and route.kept("done") == 0
    assert all([len(await events.dump(key)) < 1000 for key in await events.keys(f"{RECORD_PREFIX}*")])


async def test_without_redis_nothing_is_begun(events: Redis) -> None:
    async def never(request: Request) -> Response:
        raise AssertionError

    route = _Counted(Redis.from_url("redis://127.0.0.1:1"), never)
    assert_problem(await route.post(), 503, "events-unavailable", is_traced=False)
    assert not route.calls
