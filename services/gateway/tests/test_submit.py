"""Submitting: one durable event a promise, a problem document for anything else, and never half of one."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest
from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchesAccepted
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH
from gateway_words import KEY, assert_problem
from redis.asyncio import Redis

from gateway.scripts.load import load_script

URL = "http://example.test/page?q=1"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def _events(redis: Redis) -> list[Envelope[FetchesAccepted]]:
    return [Envelope[FetchesAccepted].model_validate_json(fields[b"event"]) for _, fields in await redis.xrange(ACCEPTED_STREAM)]


async def test_a_promise_is_one_event_with_the_whole_request(client: httpx2.AsyncClient, events: Redis) -> None:
    request = {"url": URL, "headers": {"Accept": "text/plain"}, "timeout_seconds": 5, "retries": {"max": 1}}
    answer = await client.post("/v1/fetches", json=request, headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == f"/v1/fetches/{document['id']}" == document["links"]["self"]
    assert document["status"] == "queued" and document["url"] == URL
    (event,) = await _events(events)
    assert event.type == FETCH_ACCEPTED
    assert event.traceparent is not None and event.traceparent.split("-")[1] == TRACEPARENT.split("-")[1]
    (fetch,) = event.data.fetches
    assert fetch.id == UUID(document["id"]) and fetch.host == "example.test"
    assert fetch.request.headers == {"Accept": "text/plain"} and fetch.request.retries.max == 1
    assert await events.hlen(INGESTING_HASH) == 1


async def test_a_fetch_can_be_read_before_the_ledger_has_it(client: httpx2.AsyncClient, gateway: Any) -> None:
    location = (await client.post("/v1/fetches", json={"url": URL})).headers["location"]
    for is_broken in (False, True):
        gateway.store.is_broken = is_broken
        answer = await client.get(location)
        assert answer.status_code == 200
        assert answer.json()["status"] == "queued" and answer.json()["waiting"]["reason"] == "queue"
    assert (await client.get(f"{location}/content")).status_code == 503
    gateway.store.is_broken = False
    assert_problem(await client.get(f"{location}/content"), 409, "not-finished")


BAD_BODIES: list[tuple[bytes, int, str, str | None]] = [
    (b"", 422, "invalid-request", "#"),
    (b"{", 400, "malformed-json", None),
    (b"\xff\xfe", 400, "malformed-json", None),
    (b"[]", 422, "invalid-request", "#"),
    (b"{}", 422, "invalid-request", "#/url"),
    (b'{"url": 7}', 422, "invalid-request", "#/url"),
    (b'{"url": "http://a.test/", "colour": "blue"}', 422, "invalid-request", "#/colour"),
    (b'{"url": "http://a.test/", "retries": {"most": 1}}', 422, "invalid-request", "#/retries/most"),
    (b'{"url": "http://a.test/", "timeout_seconds": "5"}', 422, "invalid-request", "#/timeout_seconds"),
    (b'{"url": "http://a.test/", "timeout_seconds": 100000}', 422, "invalid-request", "#/timeout_seconds"),
    (b'{"url": "http://a.test/", "method": "TRACE"}', 422, "invalid-request", "#/method"),
    (b'{"url": "http://a.test/", "headers": {"A": "b\\r\\nC: d"}}', 422, "invalid-request", "#/headers/A"),
    (b'{"url": "http://a.test/", "headers": {"A": "b\\u0000"}}', 422, "invalid-request", "#/headers/A"),
    (b'{"url": "http://a.test/", "headers": {"Host": "b.test"}}', 422, "invalid-request", "#/headers/Host"),
    (b'{"url": "http://a.test/", "headers": {"Bad Name": "x"}}', 422, "invalid-request", "#/headers/Bad%20Name"),
    (b'{"url": "ftp://a.test/"}', 422, "invalid-request", "#/url"),
    (b'{"url": "/just/a/path"}', 422, "invalid-request", "#/url"),
    (b'{"url": "http://user:secret@a.test/"}', 422, "invalid-request", "#/url"),
    (b'{"url": "http://127.1/"}', 422, "invalid-request", "#/url"),
    (b'{"url": "http://a.test/", "body": "secret"}', 422, "invalid-request", "#/body"),
    (b'{"url": "http://a.test/", "method": "HEAD", "body": ""}', 422, "invalid-request", "#/body"),
    (b'{"url": "http://a.test/", "method": "POST", "body": 7}', 422, "invalid-request", "#/body"),
    (b'{"url": "http://a.test/", "method": "POST", "body": {"base64": "a secret!"}}', 422, "invalid-request", "#/body/base64"),
    (b'{"url": "http://a.test/", "method": "POST", "body": {"base64": "YQ"}}', 422, "invalid-request", "#/body/base64"),
    (b'{"url": "http://a.test/", "method": "POST", "body": {"text": "secret"}}', 422, "invalid-request", "#/body"),
    (b'{"url": "http://a.test/", "method": "PUT", "body": "' + b"x" * 32769 + b'"}', 422, "invalid-request", "#/body"),
    (b'{"url": "http://a.test/", "method": "POST", "body": "\\ud800"}', 422, "invalid-request", "#/body"),
    (b'{"url": "http://a.test/", "method": "POST", "retries": {"max": 1}}', 422, "invalid-request", "#/retries/max"),
    (b'{"url": "http://a.test/", "method": "PATCH", "retries": {"max": 2}}', 422, "invalid-request", "#/retries/max"),
    (b'{"url": "http://a.test/", "max_age_seconds": -1}', 422, "invalid-request", "#/max_age_seconds"),
    (b'{"url": "http://a.test/", "max_age_seconds": NaN}', 422, "invalid-request", "#/max_age_seconds"),
    (b'{"url": "http://a.test/", "robots": "ask"}', 422, "invalid-request", "#/robots"),
    (b'{"url": "http://a.test/", "headers": {"X-Key": "secret\\u0001"}}', 422, "invalid-request", "#/headers/X-Key"),
]


@pytest.mark.parametrize(("body", "status", "slug", "pointer"), BAD_BODIES, ids=[str(row[0])[:60] for row in BAD_BODIES])
async def test_a_bad_body_is_explained_and_changes_nothing(
    client: httpx2.AsyncClient, events: Redis, body: bytes, status: int, slug: str, pointer: str | None
) -> None:
    answer = await client.post("/v1/fetches", content=body, headers={"Content-Type": "application/json"})
    document = assert_problem(answer, status, slug)
    if pointer is not None:
        assert pointer in [error["pointer"] for error in document["errors"]]
        assert all(error["detail"] for error in document["errors"])
    assert b"secret" not in answer.content
    assert not await events.xlen(ACCEPTED_STREAM) and not await events.exists(INGESTING_HASH)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("retries", [None, {"max": 0}, {"backoff_seconds": 3}])
async def test_what_is_not_idempotent_is_promised_without_retries(
    client: httpx2.AsyncClient, events: Redis, method: str, retries: dict[str, int] | None
) -> None:
    request: dict[str, Any] = {"url": URL, "method": method, "body": "x"} | ({"retries": retries} if retries else {})
    document = (await client.post("/v1/fetches", json=request)).json()
    (event,) = await _events(events)
    is_once = method in ("POST", "PATCH")
    assert document["at_most_once"] is is_once
    assert event.data.fetches[0].request.retries.max == (0 if is_once or retries == {"max": 0} else 2)


async def test_what_a_caller_sends_is_in_the_event_and_never_shown(client: httpx2.AsyncClient, events: Redis) -> None:
    secrets = {"headers": {"Authorization": "Bearer secret-of-mine"}, "body": {"base64": "c2VjcmV0LW9mLW1pbmU="}}
    answer = await client.post("/v1/fetches", json={"url": URL, "method": "PUT", "robots": "ignore", **secrets})
    read = await client.get(answer.headers["location"])
    assert (answer.status_code, read.status_code) == (202, 200)
    for shown in (answer.text, read.text):
        assert "secret" not in shown.lower() and "c2VjcmV0" not in shown and "authorization" not in shown.lower()
    (fetch,) = (await _events(events))[0].data.fetches
    assert fetch.request.body_bytes == b"secret-of-mine" and fetch.request.robots == "ignore"


async def test_the_largest_body_passes(client: httpx2.AsyncClient, events: Redis) -> None:
    answer = await client.post("/v1/fetches", json={"url": URL, "method": "POST", "body": "x" * 32768})
    assert answer.status_code == 202
    assert len((await _events(events))[0].data.fetches[0].request.body_bytes or b"") == 32768


async def test_the_examples_of_the_description_are_accepted(client: httpx2.AsyncClient, events: Redis) -> None:
    schema = (await client.get("/openapi.json")).json()["components"]["schemas"]["FetchSubmission"]
    assert len(schema["examples"]) >= 4
    for example in schema["examples"]:
        assert (await client.post("/v1/fetches", json=example)).status_code == 202


async def test_another_media_type_is_named(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/fetches", content=b"url=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_ten_megabyte_body_is_refused_and_the_refusal_is_heard(client: httpx2.AsyncClient, is_chunked: bool) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 100_000

    content = chunks() if is_chunked else b"x" * 10_000_000
    answer = await client.post("/v1/fetches", content=content, headers={"Content-Type": "application/json"})
    assert "65536" in assert_problem(answer, 413, "body-too-large")["detail"]


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY} {KEY}"])
async def test_without_the_key_nothing_happens(gateway: Any, events: Redis, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers) as stranger:
        for method, path in (("POST", "/v1/fetches"), ("GET", "/v1/fetches/x"), ("GET", "/v1/nothing")):
            answer = await stranger.request(method, path, content=b"{")
            assert_problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not await events.xlen(ACCEPTED_STREAM)


async def test_a_backlog_over_the_limit_is_ours_and_says_when_to_come_back(client: httpx2.AsyncClient, events: Redis) -> None:
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(50)})
    answer = await client.post("/v1/fetches", json={"url": URL})
    assert_problem(answer, 503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert not await events.xlen(ACCEPTED_STREAM)


async def test_no_promise_while_redis_cannot_write(client: httpx2.AsyncClient, events: Redis) -> None:
    used = (await events.info("memory"))["used_memory"]
    await events.config_set("maxmemory", used // 2)
    try:
        assert_problem(await client.post("/v1/fetches", json={"url": URL}), 503, "events-unavailable")
    finally:
        await events.config_set("maxmemory", 0)
    assert (await client.post("/v1/fetches", json={"url": URL})).status_code == 202


async def test_submissions_at_once_are_each_their_own_promise(client: httpx2.AsyncClient, events: Redis) -> None:
    """They may share a publish, but neither an event nor a fate: past the limit of 50 the rest is refused, none half."""
    answers = await asyncio.gather(*(client.post("/v1/fetches", json={"url": f"{URL}&n={number}"}) for number in range(60)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len(accepted) == 50 and {answer.status_code for answer in answers} == {202, 503}
    published = {str(event.data.fetches[0].id): event.data.fetches[0].request.url for event in await _events(events)}
    assert published == {answer.json()["id"]: answer.json()["url"] for answer in accepted}


async def test_the_same_call_once_more_is_one_event(events: Redis) -> None:
    """redis-py repeats a call whose connection broke; the script must not append, nor count, twice."""
    script = load_script(events, "accept")
    keys = [ACCEPTED_STREAM, INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH]
    limits = [10, 100, 3600, 60]
    arguments = [*limits, "{}", "key-1", "", "", 0, 0, 1, 1, "id-1", "{}", "", "", "", 0, 0, 2, 2, "id-2", "id-3"]
    replies = [await script(keys=keys, args=arguments) for _ in range(2)]
    assert replies[0] == replies[1] and {reply[0] for reply in replies[0]} == {b"accepted"}
    assert await events.xlen(ACCEPTED_STREAM) == 2
    assert await events.hlen(INGESTING_HASH) == 3
    assert await events.hgetall(KEY_ACCEPTED_HASH) == {b"key-1": b"1"}
