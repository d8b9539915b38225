"""Problems: each type says what to do and has a page; and none tells what happened inside."""

import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView
from common.ids import new_fetch_id
from common.streams.names import INGESTING_HASH
from fastapi import HTTPException
from gateway_words import KEY, assert_problem
from redis.asyncio import Redis

from gateway.app import create_api
from gateway.errors import EventsUnavailable, GatewayError, IngestBacklog, QuotaExceeded, StoreUnavailable
from gateway.http.observation import Observation
from gateway.metrics import GatewayMetrics
from gateway.problems.answers import GATEWAY_ERRORS
from gateway.problems.documents import ProblemDocument, example_of
from gateway.problems.types import REGISTRY, ProblemType

SECRET = "redis://planted:secret@events.internal:6379/0"
INTERNALS = ("Traceback", "File \"", "Error", "redis", "127.0.0.1", "localhost", "internal/v1", "asyncpg", "aiohttp", KEY)
JSON = {"Content-Type": "application/json"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

Ask = Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]


@pytest.mark.parametrize("type", ProblemType)
def test_every_type_says_what_to_do_and_has_an_example(type: ProblemType) -> None:
    kind = REGISTRY[type]
    assert kind.title and not kind.title.endswith(".")
    assert kind.remedy.endswith(".") and kind.remedy.split()[0] in {
        "Ask", "Check", "Correct", "Read", "Repeat", "Report", "Send", "Start", "Use",
    }  # fmt: skip
    example = ProblemDocument.model_validate(example_of(type))
    assert (example.status, example.title) == (kind.status, kind.title)
    assert example.retryable == ("Retry-After" in kind.remedy or kind.status == 503)


@pytest.mark.parametrize("type", ProblemType)
async def test_what_a_type_leads_to_is_a_document_for_programs_and_a_page_for_people(gateway: Any, type: ProblemType) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as stranger:
        answer = await stranger.get(example_of(type)["type"])
        page = await stranger.get(f"/problems/{type}", headers={"Accept": BROWSER})
    document, kind = answer.json(), REGISTRY[type]
    assert (document["type"], document["title"], document["status"]) == (f"/problems/{type}", kind.title, kind.status)
    assert document["remedy"] == kind.remedy and document["examples"] == [example_of(type)]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{kind.title.replace(chr(39), '&#x27;')}</h1>" in page.text and str(kind.status) in page.text
    assert answer.headers["vary"] == page.headers["vary"] == "Accept"


async def test_the_index_leads_to_every_type(gateway: Any) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as stranger:
        listed = [item["type"] for item in (await stranger.get("/problems")).json()["items"]]
        page = await stranger.get("/problems", headers={"Accept": BROWSER})
    assert listed == [f"/problems/{type}" for type in ProblemType]
    assert all(f'href="{path}"' in page.text for path in listed)


def test_the_documentation_has_every_type(repository: Path) -> None:
    text = (repository / "docs/problems.md").read_text(encoding="utf-8")
    assert all(f"\n## {type}\n" in text and kind.remedy in text for type, kind in REGISTRY.items())


async def test_an_unknown_type_has_no_page(client: httpx2.AsyncClient) -> None:
    assert_problem(await client.get("/problems/no-such-type"), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "methods"), [("/v1/fetches/x", "DELETE, GET"), ("/v1/hosts/a.test", "GET, PATCH"), ("/livez", "GET")]
)
async def test_a_wrong_method_is_told_all_that_the_path_knows(client: httpx2.AsyncClient, path: str, methods: str) -> None:
    answer = await client.put(path)
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == methods


def _send(method: str, path: str, **said: Any) -> Ask:
    return lambda client: client.request(method, path, **said)


REFUSALS: list[tuple[int, str, Ask]] = [
    (400, "malformed-json", _send("POST", "/v1/fetches", content=b'{"url": ', headers=JSON)),
    (400, "malformed-json", _send("POST", "/v1/fetches", content=b'{"url": "\xff"}', headers=JSON)),
    (400, "malformed-json", _send("POST", "/v1/fetches", content=b"[" * 50_000, headers=JSON)),
    (422, "invalid-request", _send("POST", "/v1/fetches", json={"url": "ftp://a.test/", "nonsense": 1})),
    (422, "invalid-request", _send("GET", "/v1/hosts?limit=many")),
    (415, "unsupported-media-type", _send("POST", "/v1/fetches", content=b"url=x", headers={"Content-Type": "text/plain"})),
    (413, "body-too-large", _send("POST", "/v1/fetches", content=b" " * 100_000, headers=JSON)),
    (401, "unauthenticated", _send("GET", "/v1/hosts", headers={"Authorization": "Bearer wrong"})),
    (404, "not-found", _send("GET", "/v1/nothing")),
    (404, "not-found", _send("GET", "/v1/fetches/no-id")),
    (404, "not-found", _send("GET", f"/v1/fetches/{new_fetch_id()}")),
    (404, "not-found", _send("GET", "/static/../app.py")),
    (404, "not-found", _send("GET", "/static/%2e%2e/app.py")),
    (404, "not-found", _send("GET", "/static/%00")),
    (405, "method-not-allowed", _send("PUT", "/v1/fetches")),
    (400, "cursor-mismatch", _send("GET", "/v1/hosts?cursor=nonsense")),
]  # fmt: skip


def _assert_closed_mouthed(answer: httpx2.Response) -> None:
    """Nothing of how the service is made, nor where its parts are."""
    told = answer.text + json.dumps(dict(answer.headers))
    assert [word for word in (*INTERNALS, "planted") if word in told] == []


@pytest.mark.parametrize(("status", "slug", "ask"), REFUSALS)
async def test_refusals_are_problems_that_tell_nothing_of_the_inside(
    client: httpx2.AsyncClient, status: int, slug: str, ask: Ask
) -> None:
    answer = await ask(client)
    document = assert_problem(answer, status, slug)
    ProblemDocument.model_validate(document)
    assert document["title"] == REGISTRY[ProblemType(slug)].title
    _assert_closed_mouthed(answer)


async def test_refusals_of_what_is_known_tell_nothing_of_the_inside(client: httpx2.AsyncClient, gateway: Any) -> None:
    asked = itertools.product(FetchStatus, (("GET", "/content"), ("DELETE", "")))
    for status, (method, suffix) in asked:
        fetch_id = new_fetch_id()
        gateway.store.views[fetch_id] = FetchView(
            id=fetch_id, url="http://a.test/", status=status, created_at=utc_now()
        ).model_dump_json()
        answer = await client.request(method, f"/v1/fetches/{fetch_id}{suffix}")
        if answer.status_code >= 400:
            ProblemDocument.model_validate(answer.json())
            _assert_closed_mouthed(answer)


async def test_overload_and_a_store_that_is_away_tell_nothing_of_the_inside(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    gateway.store.is_broken = True
    away = [await client.get(path) for path in ("/v1/hosts", f"/v1/fetches/{new_fetch_id()}", "/v1/dead-letters")]
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(50)})
    for answer in (*away, await client.post("/v1/fetches", json={"url": "http://a.test/"})):
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1 and answer.json()["retryable"]
        _assert_closed_mouthed(answer)


FAILURES: list[tuple[Exception, ProblemType]] = [
    (StoreUnavailable(SECRET), ProblemType.STORE_UNAVAILABLE),
    (EventsUnavailable(SECRET), ProblemType.EVENTS_UNAVAILABLE),
    (IngestBacklog(SECRET), ProblemType.OVERLOADED),
    (GatewayError(SECRET), ProblemType.INTERNAL),
    (RuntimeError(SECRET), ProblemType.INTERNAL),
    (HTTPException(400, SECRET), ProblemType.MALFORMED_JSON),
    (HTTPException(418, SECRET), ProblemType.NOT_FOUND),
]


@pytest.mark.parametrize(("failure", "type"), FAILURES)
async def test_failures_tell_nothing_of_their_causes(failure: Exception, type: ProblemType) -> None:
    app = create_api()

    @app.get("/failing")
    async def fail() -> None:
        raise failure

    app.add_middleware(Observation, metrics=GatewayMetrics(), requests_limit=10)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        answer = await client.get("/failing")
    assert_problem(answer, REGISTRY[type].status, type, is_traced=False)
    _assert_closed_mouthed(answer)


def test_every_failure_of_a_dependency_has_its_problem() -> None:
    translated = {kind for kind, _ in GATEWAY_ERRORS} | {QuotaExceeded}  # which is the caller's, and has an answer of its own
    assert {kind for kind in _descendants(GatewayError) if not any(issubclass(kind, known) for known in translated)} == set()


def _descendants(kind: type[Exception]) -> set[type[Exception]]:
    return {each for child in kind.__subclasses__() for each in (child, *_descendants(child))}
