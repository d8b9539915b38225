"""API keys over REST: made, listed, changed, rotated and revoked by operators; the secret is shown once."""

import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from common.clock import utc_now
from gateway_words import assert_problem
from pydantic import BaseModel

from gateway.access.api_keys import new_key_id, read_key
from gateway.access.key_models import (
    CallingKeyDocument,
    KeyChangeSubmission,
    KeyDocument,
    KeyRotationSubmission,
    KeySubmission,
    NewKeyDocument,
)
from gateway.operator_models import OperationDocument, RefusalDocument

UNKNOWN = "/v1/keys/ZZZZZZZZZZZZ"


@pytest.fixture
def tenant() -> str:
    """A tenant of this test's own: keys are never deleted."""
    return f"t-{new_key_id().lower()}"


async def _make(client: httpx2.AsyncClient, **given: Any) -> dict[str, Any]:
    answer = await client.post("/v1/keys", json={"name": "shop"} | given)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _status(client: httpx2.AsyncClient, secret: str) -> int:
    return (await client.get("/v1/key", headers={"Authorization": f"Bearer {secret}"})).status_code


async def test_a_key_is_made_with_a_secret_that_is_shown_once_and_good_at_once(client: httpx2.AsyncClient, gateway: Any) -> None:
    expires_at = (utc_now() + timedelta(days=1)).replace(microsecond=0)
    asked = {
        "name": "nightly prices", "tenant": "acme", "scopes": ["fetch:read", "admin"], "limits": {"fetches_per_minute": 60},
        "expires_at": expires_at.isoformat(),
    }
    answer = await client.post("/v1/keys", json=asked)
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    document = answer.json()
    key = read_key(document.pop("secret"))
    assert key is not None and key.text.startswith("ftch_live_") and key.id == document["id"]
    assert answer.headers["location"] == document["links"]["self"] == f"/v1/keys/{key.id}"
    assert (document["scopes"], document["state"], document["tenant"]) == (["admin", "fetch:read"], "active", "acme")
    assert document["limits"] == {"requests_per_minute": None, "fetches_per_minute": 60, "queued_fetches": None}
    assert document["created_by"].startswith("key:") and document["last_used_at"] is None
    method, path, _, sent = gateway.store.asked[-1]
    assert (method, path, sent["digest"]) == ("PUT", f"/internal/v1/keys/{key.id}", key.digest)
    assert key.text not in str(sent) and key.text.rpartition("_")[2][:43] not in str(gateway.store.asked)
    assert await _status(client, key.text) == 200
    assert (await client.get(answer.headers["location"])).json() == document


async def test_by_default_a_key_is_a_callers(client: httpx2.AsyncClient) -> None:
    document = await _make(client)
    assert (document["tenant"], document["scopes"]) == ("default", ["fetch:read", "fetch:write", "store:read"])
    assert document["expires_at"] is None and set(document["limits"].values()) == {None}


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"name": ""}, "#/name"), ({"name": "x" * 101}, "#/name"), ({"name": "a\nb"}, "#/name"), ({"name": None}, "#/name"),
        ({"tenant": "Acme"}, "#/tenant"), ({"tenant": "-a"}, "#/tenant"), ({"scopes": []}, "#/scopes"),
        ({"scopes": ["fetch:fly"]}, "#/scopes/0"), ({"limits": {"fetches_per_minute": 0}}, "#/limits/fetches_per_minute"),
        ({"limits": {"fetches": 1}}, "#/limits/fetches"), ({"expires_at": "2020-01-01T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "#/expires_at"), ({"secret": "x"}, "#/secret"),
    ],
)
async def test_what_no_key_can_be_is_named(client: httpx2.AsyncClient, gateway: Any, given: dict[str, Any], pointer: str) -> None:
    answer = await client.post("/v1/keys", json={"name": "shop"} | given)
    assert pointer in [error["pointer"] for error in assert_problem(answer, 422, "invalid-request")["errors"]]
    assert gateway.store.asked == []


async def test_keys_are_listed_by_tenant_and_pages_follow_each_other(client: httpx2.AsyncClient, tenant: str) -> None:
    made = sorted([(await _make(client, tenant=tenant))["id"] for _ in range(3)])
    first = await client.get("/v1/keys", params={"tenant": tenant, "limit": 2})
    assert [item["id"] for item in first.json()["items"]] == made[:2] and first.headers["cache-control"] == "no-store"
    assert not any("secret" in item or "digest" in item for item in first.json()["items"])
    second = await client.get(first.links["next"]["url"])
    assert [item["id"] for item in second.json()["items"]] == made[2:]
    assert second.json()["next_cursor"] is None and "link" not in second.headers
    other = {"tenant": "other", "cursor": first.json()["next_cursor"]}
    assert_problem(await client.get("/v1/keys", params=other), 400, "cursor-mismatch")
    everyones = await client.get("/v1/keys", params={"limit": 200})
    assert set(made) <= {item["id"] for item in everyones.json()["items"]}
    assert_problem(await client.get("/v1/keys?tenant=No"), 422, "invalid-request")


async def test_a_change_is_a_merge_patch(client: httpx2.AsyncClient) -> None:
    made = await _make(client, limits={"requests_per_minute": 5, "queued_fetches": 6}, expires_at="2099-01-01T00:00:00Z")
    path = made["links"]["self"]
    changed = await client.patch(path, json={"limits": {"queued_fetches": None}, "scopes": ["fetch:read"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["limits"] == {"requests_per_minute": 5, "fetches_per_minute": None, "queued_fetches": None}
    assert (changed.json()["scopes"], changed.json()["expires_at"]) == (["fetch:read"], "2099-01-01T00:00:00Z")
    assert (await client.post("/v1/fetches", json={}, headers={"Authorization": f"Bearer {made['secret']}"})).status_code == 403
    merge = {"Content-Type": "application/merge-patch+json"}
    ended = await client.patch(path, content='{"limits": null, "expires_at": null, "name": "new"}', headers=merge)
    assert (ended.json()["name"], ended.json()["expires_at"], set(ended.json()["limits"].values())) == ("new", None, {None})


@pytest.mark.parametrize(
    "change", [{}, {"name": None}, {"scopes": None}, {"tenant": "x"}, {"expires_at": "2020-01-01T00:00:00Z"}]
)
async def test_a_change_that_cannot_be_is_refused(client: httpx2.AsyncClient, gateway: Any, change: dict[str, Any]) -> None:
    assert_problem(await client.patch(UNKNOWN, json=change), 422, "invalid-request")
    assert gateway.store.asked == []


async def test_after_a_rotation_both_secrets_are_good_until_the_overlap_ends(client: httpx2.AsyncClient, gateway: Any) -> None:
    made = await _make(client)
    rotated = await client.post(made["links"]["rotate"])
    assert rotated.status_code == 200 and rotated.headers["cache-control"] == "no-store"
    second = rotated.json()["secret"]
    assert (rotated.json()["id"], second != made["secret"]) == (made["id"], True)
    until = gateway.store.keys.records[made["id"]].previous_until
    assert timedelta(hours=23) < until - utc_now() < timedelta(hours=25), "by default a day"
    assert [await _status(client, secret) for secret in (made["secret"], second)] == [200, 200]
    third = (await client.post(made["links"]["rotate"], json={"overlap_seconds": 0})).json()["secret"]
    assert [await _status(client, secret) for secret in (made["secret"], second, third)] == [401, 401, 200]


@pytest.mark.parametrize("given", [{"overlap_seconds": -1}, {"overlap_seconds": 10**9}, {"overlap_seconds": "1"}, {"overlap": 1}])
async def test_an_overlap_that_cannot_be_is_refused(client: httpx2.AsyncClient, given: dict[str, Any]) -> None:
    assert_problem(await client.post(f"{UNKNOWN}/rotate", json=given), 422, "invalid-request")


async def test_a_revoked_key_is_refused_at_once_and_stays_revoked(client: httpx2.AsyncClient, gateway: Any) -> None:
    made = await _make(client)
    first, again = await client.delete(made["links"]["self"]), await client.delete(made["links"]["self"])
    assert first.status_code == again.status_code == 200 and first.json() == again.json()
    assert (first.json()["state"], first.json()["revoked_at"] is not None) == ("revoked", True)
    assert await _status(client, made["secret"]) == 401
    assert_problem(await client.patch(made["links"]["self"], json={"name": "x"}), 409, "key-revoked")
    assert_problem(await client.post(made["links"]["rotate"]), 409, "key-revoked")
    assert gateway.store.keys.records[made["id"]].name == "shop"


@pytest.mark.parametrize("path", [UNKNOWN, "/v1/keys/short", "/v1/keys/ZZZZZZZZZZZZ%0a", "/v1/keys/page", "/v1/keys/..%2Fused"])
async def test_what_is_not_there_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    for answer in (await client.get(path), await client.patch(path, json={"name": "x"}), await client.delete(path)):
        assert_problem(answer, 404, "not-found")
    assert_problem(await client.post(f"{path}/rotate"), 404, "not-found")


async def test_without_the_store_it_is_a_problem_to_retry(client: httpx2.AsyncClient, gateway: Any) -> None:
    gateway.store.is_broken = True
    answers = [
        await client.post("/v1/keys", json={"name": "x"}), await client.get("/v1/keys"), await client.get(UNKNOWN),
        await client.patch(UNKNOWN, json={"name": "x"}), await client.post(f"{UNKNOWN}/rotate"), await client.delete(UNKNOWN),
        await client.get("/v1/audit"), await client.get("/v1/audit?kind=refusals"),
    ]
    for answer in answers:
        assert assert_problem(answer, 503, "store-unavailable")["retryable"] and answer.headers["retry-after"]


async def test_an_expired_key_says_so_to_operators(client: httpx2.AsyncClient, gateway: Any) -> None:
    made = await _make(client, expires_at=(utc_now() + timedelta(hours=1)).isoformat())
    gateway.store.keys.put(gateway.store.keys.records[made["id"]], expires_at=utc_now())
    assert (await client.get(made["links"]["self"])).json()["state"] == "expired"


@pytest.mark.parametrize(
    "model",
    [
        KeySubmission, KeyChangeSubmission, KeyRotationSubmission, KeyDocument, NewKeyDocument, CallingKeyDocument,
        OperationDocument, RefusalDocument,
    ],
)
async def test_the_examples_of_the_description_hold(client: httpx2.AsyncClient, model: type[BaseModel]) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for example in schemas[model.__name__]["examples"]:
        model.model_validate_json(json.dumps(example))
