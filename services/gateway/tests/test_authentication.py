"""Who is let in: with the first key, and with keys of the store until they are revoked or expire. All others hear the same."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.keys import KeyLimits, Scope
from common.streams.names import ACCEPTED_STREAM
from gateway_words import KEY, assert_problem, key_parts, key_record, new_key, until
from little_store import TOKEN
from redis.asyncio import Redis
from starlette.responses import PlainTextResponse

from gateway.access.api_keys import ApiKey
from gateway.access.authentication import Authentication
from gateway.access.credentials import Credentials
from gateway.access.key_verdicts import judge_key
from gateway.access.tickets import Tickets
from gateway.metrics import GatewayMetrics, KeyRefusal
from gateway.principal import Principal
from gateway.settings import REVOCATION_SECONDS, GatewaySettings
from gateway.store_client import StoreClient

NOW = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)
ALL = frozenset(Scope)


def _put(gateway: Any, **members: Any) -> ApiKey:
    """A key that the store knows and the gateway does not, yet."""
    key = new_key()
    gateway.store.keys.put(key_record(key, now=utc_now(), **members))
    return key


def _as(key: ApiKey | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key.text}"}


async def _refusals(gateway: Any) -> dict[str, float]:
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        lines = (await operator.get("/metrics")).text.splitlines()
    found = [line.partition("{")[2].partition("} ") for line in lines if line.startswith("fetchwork_keys_refused_total{")]
    return {label.partition('"')[2].rstrip('"'): float(value) for label, _, value in found}


async def test_a_new_key_is_let_in_at_once_as_its_tenant(client: httpx2.AsyncClient, gateway: Any, events: Redis) -> None:
    key = _put(gateway, tenant="acme", limits=KeyLimits(queued_fetches=7), name="shop")
    answer = await client.post("/v1/fetches", json={"url": "http://a.test/"}, headers=_as(key))
    assert answer.status_code == 202, answer.text
    [(_, fields)] = await events.xrange(ACCEPTED_STREAM)
    assert f'"tenant":"acme","key_id":"{key.id}"'.encode() in fields[b"event"]
    await client.get(answer.headers["location"], headers=_as(key))
    assert gateway.store.asked[-1][2]["tenant"] == "acme"
    shown = await client.get("/v1/key", headers=_as(key))
    assert shown.headers["cache-control"] == "no-store"
    assert shown.json() == {
        "id": key.id,
        "name": "shop",
        "tenant": "acme",
        "scopes": sorted(ALL),
        "limits": {"requests_per_minute": None, "fetches_per_minute": None, "queued_fetches": 7},
        "expires_at": None,
    }


async def test_the_first_key_is_of_the_default_tenant_and_may_do_everything(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/v1/key")).json()
    assert (document["id"], document["tenant"], document["scopes"]) == (None, "default", sorted(ALL))


async def test_revoking_is_in_force_within_thirty_seconds_without_a_word_to_the_gateway(
    client: httpx2.AsyncClient, gateway: Any
) -> None:
    key = _put(gateway)
    assert (await client.get("/v1/key", headers=_as(key))).status_code == 200
    gateway.store.keys.put(gateway.store.keys.records[key.id], revoked_at=utc_now())
    statuses = [200]
    async with asyncio.timeout(REVOCATION_SECONDS):
        while statuses[-1] == 200:
            statuses.append((await client.get("/v1/key", headers=_as(key))).status_code)
    assert statuses[-1] == 401


def test_settings_that_would_break_that_promise_are_refused() -> None:
    enough = {"api_key": KEY, "events_url": "redis://unused", "store_token": "x" * 16, "store_url": "http://s", "metrics_port": 0}
    assert GatewaySettings.model_validate(enough).faults() == []
    assert GatewaySettings.model_validate(enough | {"key_poll_seconds": 25}).faults() == []
    [fault] = GatewaySettings.model_validate(enough | {"key_poll_seconds": 20, "store_timeout_seconds": 10.1}).faults()
    assert "KEY_POLL_SECONDS" in fault and "STORE_TIMEOUT_SECONDS" in fault


async def test_all_who_are_refused_hear_the_same(client: httpx2.AsyncClient, gateway: Any) -> None:
    known, revoked = _put(gateway), _put(gateway, revoked_at=utc_now())
    expired = _put(gateway, expires_at=utc_now() - timedelta(seconds=1))
    unknown, other = new_key(), new_key()
    wrong = _put(gateway, digest=other.digest)
    assert (await client.get("/v1/key", headers=_as(known))).status_code == 200
    given = {
        "unknown": _as(unknown), "wrong": _as(wrong), "revoked": _as(revoked), "expired": _as(expired),
        "malformed": _as(known.text[:-1] + ("0" if known.text[-1] != "0" else "1")), "missing": {"Authorization": ""},
    }
    before = await _refusals(gateway)
    answers = {reason: await client.get("/v1/key", headers=headers) for reason, headers in given.items()}
    documents = [assert_problem(answer, 401, "unauthenticated") for answer in answers.values()]
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {'Bearer realm="fetchwork"'}
    traced = [document.pop("trace_id") for document in documents]
    assert all(document == documents[0] for document in documents) and len(set(traced)) == len(traced)
    names = {tuple(sorted(set(answer.headers) - {"date"})) for answer in answers.values()}
    assert len(names) == 1
    after = await _refusals(gateway)
    assert {reason: after[reason] - before[reason] for reason in after} == dict.fromkeys(given, 1.0)


@pytest.mark.parametrize("path", ["/v1/fetches", "/v1/anything", "/v2/scrape", "/v2/anything"])
async def test_all_of_the_api_needs_a_key_before_a_route_is_looked_for(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, json={}, headers={"Authorization": ""})
    assert answer.status_code == 401
    if path.startswith("/v1/"):  # /v2 has another service's form
        assert_problem(answer, 401, "unauthenticated")


async def test_two_credentials_or_another_scheme_are_none(client: httpx2.AsyncClient) -> None:
    twice = [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")]
    async with httpx2.AsyncClient(base_url=client.base_url) as bare:
        assert_problem(await bare.get("/v1/key", headers=twice), 401, "unauthenticated")
        assert_problem(await bare.get("/v1/key", headers={"Authorization": f"Basic {KEY}"}), 401, "unauthenticated")
        assert_problem(await bare.get(f"/v1/key?api_key={KEY}"), 401, "unauthenticated")


async def test_while_the_store_is_away_known_keys_go_on_and_of_others_nobody_knows(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    known, unknown = _put(gateway), new_key()
    assert (await client.get("/v1/key", headers=_as(known))).status_code == 200
    gateway.store.is_broken = True
    assert (await client.post("/v1/fetches", json={"url": "http://a.test/"}, headers=_as(known))).status_code == 202
    assert assert_problem(await client.get("/v1/key", headers=_as(unknown)), 503, "store-unavailable")["retryable"]
    assert_problem(await client.get("/v1/key", headers=_as("ftch_live_typo")), 401, "unauthenticated")
    assert (await client.get("/v1/key")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/keys", "admin"), ("POST", "/v1/keys", "admin"), ("GET", "/v1/keys/AAAAAAAAAAAA", "admin"),
        ("PATCH", "/v1/keys/AAAAAAAAAAAA", "admin"), ("POST", "/v1/keys/AAAAAAAAAAAA/rotate", "admin"),
        ("DELETE", "/v1/keys/AAAAAAAAAAAA", "admin"), ("GET", "/v1/audit", "admin"), ("GET", "/v1/hosts", "admin"),
        ("GET", "/v1/dead-letters", "admin"), ("POST", "/v1/fetches", "fetch:write"),
    ],
)
async def test_a_key_without_the_scope_is_told_which_one(
    client: httpx2.AsyncClient, gateway: Any, method: str, path: str, scope: str
) -> None:
    key = _put(gateway, scopes=ALL - {Scope(scope)})
    answer = await client.request(method, path, headers=_as(key), json=None if method in ("GET", "DELETE") else {})
    assert f"`{scope}`" in assert_problem(answer, 403, "insufficient-scope")["detail"]
    assert not [asked for asked in gateway.store.asked if asked[1] != "/internal/v1/keys"]


async def test_only_who_is_let_in_has_used_a_key(gateway: Any, events: Redis) -> None:
    good, revoked, metrics = new_key(), new_key(), GatewayMetrics()
    store = StoreClient(base_url=gateway.store_url, token=TOKEN, timeout_seconds=5, metrics=GatewayMetrics())
    parts = key_parts(store, clock=lambda: NOW, metrics=metrics)
    ring, uses = parts["key_ring"], parts["key_uses"]
    following = asyncio.create_task(ring.run())
    gateway.store.keys.put(key_record(good, now=NOW))
    gateway.store.keys.put(key_record(revoked, now=NOW, revoked_at=NOW))
    tickets = Tickets(events, ttl_seconds=60, per_key_limit=10)
    inner = PlainTextResponse("in")
    app = Authentication(
        inner,
        credentials=Credentials(first_key=KEY, ring=ring, uses=uses, clock=lambda: NOW),
        tickets=tickets,
        metrics=metrics,
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway") as caller:
        answers = [(await caller.get("/v1/x", headers=_as(key))).status_code for key in (good, revoked, KEY, new_key())]
    assert answers == [200, 401, 200, 401]
    await uses.report()
    assert [(use.id, use.at) for use in gateway.store.keys.uses if use.at == NOW] == [(good.id, NOW)]
    following.cancel()
    await store.close()


async def test_no_key_is_ever_in_the_log(client: httpx2.AsyncClient, gateway: Any) -> None:
    known, unknown = _put(gateway), new_key()
    for key in (known, unknown):
        await client.get("/v1/key", headers=_as(key))
        await client.get(f"/v1/fetches/{key.text}", headers=_as(key))
        await client.get(f"/v1/key?key={key.text}", headers=_as(key))
        await client.post("/v1/keys", json={"name": key.text, "tenant": key.text}, headers=_as(key))
        await client.post("/v1/keys", json={"name": key.text})
    made = (await client.post("/v1/keys", json={"name": "made"})).json()["secret"]
    await client.get("/v1/key", headers=_as(made))
    await until(lambda: f'"key":"{unknown.id}"' in gateway.log.read_text())
    log = gateway.log.read_text()
    for text in (KEY, known.text, unknown.text, made):
        assert text not in log and text.rpartition("_")[2][:43] not in log


def test_a_key_is_judged_by_its_digest_and_then_by_its_times() -> None:
    key, before, other = new_key(), new_key(), new_key()
    ends = {"previous_until": NOW + timedelta(seconds=60), "expires_at": NOW + timedelta(seconds=90)}
    record = key_record(key, now=NOW, previous_digest=before.digest, **ends)

    def judged(digest: str, *, seconds: float = 0, **changed: Any) -> Principal | KeyRefusal:
        return judge_key(record.model_copy(update=changed), digest, now=NOW + timedelta(seconds=seconds))

    current, previous = judged(key.digest, seconds=89), judged(before.digest, seconds=59)
    assert isinstance(current, Principal) and isinstance(previous, Principal)
    assert (current.actor, current.key_id, current.tenant) == (f"key:{key.id}", key.id, "acme")
    assert (current.expires_at, previous.expires_at) == (record.expires_at, record.previous_until)
    assert judged(key.digest, seconds=90) is judged(before.digest, seconds=60) is KeyRefusal.EXPIRED
    assert judged(other.digest) is KeyRefusal.WRONG
    assert judged(before.digest, previous_digest=None, previous_until=None) is KeyRefusal.WRONG
    assert judged(key.digest, revoked_at=NOW + timedelta(days=1)) is KeyRefusal.REVOKED, "whatever our clock says"
    assert judge_key(None, key.digest, now=NOW) is KeyRefusal.UNKNOWN
    unlimited = judged(key.digest, expires_at=None)
    assert isinstance(unlimited, Principal) and unlimited.expires_at is None
