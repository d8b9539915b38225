"""Hosts over REST: pages that fit together, names read as fetches have them, changes that reach the store as they were sent."""

import base64
import hashlib
import json
from typing import Any

import httpx2
import pytest
from common.contracts.hosts import HostState, HostView
from gateway_words import KEY, assert_problem
from little_store import host_view

NAMES = ["[2001:db8::1]:8080", "a.test", "a.test:8080", "b.test", "xn--bcher-kva.example"]
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def hosts(gateway: Any) -> dict[str, HostView]:
    """What the store knows: five hosts, two of them paused."""
    known: dict[str, HostView] = gateway.store.hosts
    known.update({name: host_view(name) for name in NAMES})
    known.update({name: host_view(name, state=HostState.PAUSED) for name in ("a.test", "b.test")})
    return known


async def _walk(client: httpx2.AsyncClient, path: str) -> list[list[str]]:
    pages: list[list[str]] = []
    following: str | None = path
    while following is not None:
        answer = await client.get(following)
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        document = answer.json()
        pages.append([item["host"] for item in document["items"]])
        following = answer.links["next"]["url"] if "link" in answer.headers else None
        assert (document["next_cursor"] is None) is (following is None)
        assert following is None or document["next_cursor"] in following
    return pages


async def test_pages_follow_each_other_without_gaps(client: httpx2.AsyncClient, hosts: dict[str, HostView]) -> None:
    assert await _walk(client, "/v1/hosts?limit=2") == [NAMES[0:2], NAMES[2:4], NAMES[4:]]
    assert await _walk(client, "/v1/hosts") == [NAMES]
    assert await _walk(client, "/v1/hosts?limit=1&state=paused") == [["a.test"], ["b.test"]]
    assert await _walk(client, "/v1/hosts?state=banned") == [[]]


async def test_fifty_are_on_a_page_unless_said_otherwise(client: httpx2.AsyncClient, gateway: Any) -> None:
    await client.get("/v1/hosts")
    assert gateway.store.asked == [("GET", "/internal/v1/hosts", {"limit": "50"}, None)]


async def test_a_cursor_fits_only_the_list_it_came_from(client: httpx2.AsyncClient, hosts: dict[str, HostView]) -> None:
    cursor = (await client.get("/v1/hosts?limit=1")).json()["next_cursor"]
    filtered = (await client.get("/v1/hosts?limit=1&state=paused")).json()["next_cursor"]
    assert (await client.get("/v1/hosts", params={"cursor": cursor})).status_code == 200
    for filters, given in (({"state": "paused"}, cursor), ({}, filtered), ({"state": "open"}, filtered)):
        assert_problem(await client.get("/v1/hosts", params={**filters, "cursor": given}), 400, "cursor-mismatch")
    assert_problem(await client.get("/v1/dead-letters", params={"cursor": cursor}), 400, "cursor-mismatch")


def _encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


LIST = "hosts?state="
GARBAGE = [
    "", "x", "a.test", "%00", "é", "W1tb" * 5000, f"!!!!{_encoded([LIST, 'a.test'])}",
    *map(_encoded, ([], {}, "a", [LIST], [LIST, 7], [LIST, "\0"], [LIST, ""], [LIST, "ü"], [LIST, "a" * 1001], [LIST, "a", "b"])),
]


@pytest.mark.parametrize("cursor", GARBAGE, ids=[text[:30] for text in GARBAGE])
async def test_a_cursor_that_we_did_not_make_is_refused(client: httpx2.AsyncClient, gateway: Any, cursor: str) -> None:
    assert_problem(await client.get("/v1/hosts", params={"cursor": cursor}), 400, "cursor-mismatch")
    assert gateway.store.asked == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "state=x"])
async def test_a_parameter_that_cannot_be_is_named(client: httpx2.AsyncClient, gateway: Any, query: str) -> None:
    [error] = assert_problem(await client.get(f"/v1/hosts?{query}"), 422, "invalid-request")["errors"]
    assert error["parameter"] == query.partition("=")[0] and error["detail"] and "pointer" not in error
    assert gateway.store.asked == []


SPELLINGS = [
    ("a.test", "a.test"), ("A.Test", "a.test"), ("a.test.", "a.test"), ("a.test:80", "a.test"), ("a.test:443", "a.test"),
    ("a.test:8080", "a.test:8080"), ("a.test%3A8080", "a.test:8080"), ("%5B2001:db8::1%5D:8080", "[2001:db8::1]:8080"),
    ("%5B2001%3ADB8%3A%3A1%5D%3A8080", "[2001:db8::1]:8080"), ("b%C3%BCcher.example", "xn--bcher-kva.example"),
]


@pytest.mark.parametrize(("spelling", "host"), SPELLINGS)
async def test_a_host_is_read_as_fetches_have_it(
    client: httpx2.AsyncClient, gateway: Any, hosts: dict[str, HostView], spelling: str, host: str
) -> None:
    answer = await client.get(f"/v1/hosts/{spelling}")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["host"] == host and document["pace"] == {"rule": "default", "delay_ms": 0, "max_in_flight": 4, "until": None}
    assert (await client.get(document["links"]["self"])).json() == document
    assert (await client.patch(f"/v1/hosts/{spelling}", json={"state": "banned"})).json()["host"] == host
    assert gateway.store.asked[-1][:3] == ("PATCH", "/internal/v1/hosts/one", {"host": host})


GARBAGE_HOSTS = ["a%20b", "a.test:0", "a.test:x", "a.test:", "u@a.test", "a.test%3Fx", "a.test%23x", "127.1", "a%00", "::1", "-"]


@pytest.mark.parametrize("garbage", GARBAGE_HOSTS)
async def test_what_is_no_host_is_said_to_be_none(client: httpx2.AsyncClient, gateway: Any, garbage: str) -> None:
    for answer in (await client.get(f"/v1/hosts/{garbage}"), await client.patch(f"/v1/hosts/{garbage}", json={"state": "open"})):
        assert "not a host" in assert_problem(answer, 404, "not-found")["detail"]
    assert gateway.store.asked == []


async def test_a_link_is_spelled_as_a_path_may_be(client: httpx2.AsyncClient, hosts: dict[str, HostView]) -> None:
    """RFC 3986 section 3.3: colons may stand there, brackets may not."""
    links = [item["links"]["self"] for item in (await client.get("/v1/hosts?limit=3")).json()["items"]]
    assert links == ["/v1/hosts/%5B2001:db8::1%5D:8080", "/v1/hosts/a.test", "/v1/hosts/a.test:8080"]


async def test_a_host_is_unknown_until_it_is_asked_for_or_changed(client: httpx2.AsyncClient, gateway: Any) -> None:
    assert_problem(await client.get("/v1/hosts/new.test"), 404, "not-found")
    assert (await client.patch("/v1/hosts/new.test", json={"state": "paused"})).json()["state"] == "paused"
    assert (await client.get("/v1/hosts/new.test")).json()["state"] == "paused"


CHANGES: list[dict[str, Any]] = [
    {"state": "paused"},
    {"state": None},
    {"delay_ms": None, "max_in_flight": 3},
    {"delay_ms": 0, "reason": "ours", "expires_in_seconds": 60},
    {"max_in_flight": None, "reason": None},
]


@pytest.mark.parametrize("media_type", ["application/json", MERGE_PATCH])
@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_null_and_absent_reach_the_store_as_what_they_are(
    client: httpx2.AsyncClient, gateway: Any, change: dict[str, Any], media_type: str
) -> None:
    request = client.build_request("PATCH", "/v1/hosts/a.test", json=change, headers={"Content-Type": media_type})
    assert (await client.send(request)).status_code == 200
    [(_, _, _, operation)] = gateway.store.asked
    assert operation == {"actor": f"key:{hashlib.sha256(KEY.encode()).hexdigest()[:8]}", "change": change}


REFUSED: list[tuple[bytes, str]] = [
    (b"{}", "#"),
    (b'{"reason": "x"}', "#"),
    (b'{"state": "paused", "colour": "red"}', "#/colour"),
    (b'{"state": "closed"}', "#/state"),
    (b'{"state": 1}', "#/state"),
    (b'{"delay_ms": -1}', "#/delay_ms"),
    (b'{"delay_ms": "5"}', "#/delay_ms"),
    (b'{"delay_ms": 3600001}', "#/delay_ms"),
    (b'{"max_in_flight": 0}', "#/max_in_flight"),
    (b'{"max_in_flight": true}', "#/max_in_flight"),
    (b'{"delay_ms": 1, "expires_in_seconds": 0}', "#/expires_in_seconds"),
    (b'{"delay_ms": 1, "expires_in_seconds": null}', "#/expires_in_seconds"),
    (b'{"delay_ms": 1, "expires_in_seconds": NaN}', "#/expires_in_seconds"),
    (b'{"delay_ms": 1, "reason": "a\\u0000b"}', "#/reason"),
    (b'{"delay_ms": 1, "reason": "' + b"x" * 301 + b'"}', "#/reason"),
    (b"[]", "#"),
    (b"", "#"),
]


@pytest.mark.parametrize(("body", "pointer"), REFUSED, ids=[str(row[0])[:50] for row in REFUSED])
async def test_a_bad_change_is_explained_and_changes_nothing(
    client: httpx2.AsyncClient, gateway: Any, body: bytes, pointer: str
) -> None:
    answer = await client.patch("/v1/hosts/a.test", content=body, headers={"Content-Type": MERGE_PATCH})
    [error] = assert_problem(answer, 422, "invalid-request")["errors"]
    assert error["pointer"] == pointer and error["detail"][0].isupper() and "Value error" not in error["detail"]
    assert gateway.store.asked == []


async def test_a_change_of_another_kind_is_refused(client: httpx2.AsyncClient) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = await client.patch("/v1/hosts/a.test", content=b"state=open", headers={"Content-Type": media_type})
        assert_problem(answer, 415, "unsupported-media-type")
    answer = await client.patch("/v1/hosts/a.test", content=b"{", headers={"Content-Type": MERGE_PATCH})
    assert_problem(answer, 400, "malformed-json")


async def test_without_the_store_hosts_are_a_problem_to_retry(client: httpx2.AsyncClient, gateway: Any) -> None:
    gateway.store.is_broken = True
    answers = [await client.get(path) for path in ("/v1/hosts", "/v1/hosts/a.test")]
    answers.append(await client.patch("/v1/hosts/a.test", json={"state": "open"}))
    for answer in answers:
        assert assert_problem(answer, 503, "store-unavailable")["retryable"] and answer.headers["retry-after"]


async def test_the_description_names_the_routes_and_its_examples_hold(client: httpx2.AsyncClient) -> None:
    description = (await client.get("/openapi.json")).json()
    operations = {
        operation["operationId"]: operation for path in description["paths"].values() for operation in path.values()
    }
    named = {"cancelFetch", "listHosts", "getHost", "changeHost", "listDeadLetters", "redriveDeadLetter"}
    assert named <= operations.keys()
    for name in named:
        assert operations[name]["tags"] and operations[name]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    schemas = description["components"]["schemas"]
    assert operations["changeHost"]["requestBody"]["content"].keys() == {"application/json", MERGE_PATCH}
    for example in schemas["HostChangeSubmission"]["examples"]:
        assert (await client.patch("/v1/hosts/a.test", json=example)).status_code == 200
    HostView.model_validate(schemas["HostDocument"]["examples"][0])
