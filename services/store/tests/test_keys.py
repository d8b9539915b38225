"""API keys over the internal API: made, changed, rotated, revoked, followed by revision; noted without a digest."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from api_words import Caller, open_caller
from common.clock import utc_now
from common.contracts.keys import KeyChange, KeyChanges, KeyLimits, KeyPage, KeyRecord, KeyRotation, Scope
from ledger_words import at
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.keys.operate import LOCK, LOCK_KEY, changed, rotated
from store.migrate import migrate

PATH = "/internal/v1/keys"
FOLLOW_SECONDS = 10
A, B, C = "A" * 12, "B" * 12, "C" * 12
RECORD = KeyRecord(
    id=A,
    tenant="acme",
    name="shop",
    scopes=frozenset({Scope.FETCH_READ}),
    limits=KeyLimits(requests_per_minute=1, queued_fetches=2),
    digest="0" * 64,
    created_at=at(0),
    created_by="op",
    expires_at=at(9),
    revision=1,
)


@pytest.fixture
async def caller(pool: Pool, events: Redis) -> AsyncIterator[Caller]:
    """A gateway."""
    async with open_caller(pool, events) as opened:
        yield opened


def _digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


async def _put(caller: Caller, key_id: str = A, **given: Any) -> Any:
    creation = {"actor": "op", "tenant": "acme", "name": "shop", "scopes": ["fetch:read"], "digest": _digest(key_id)}
    return await caller.http.put(f"{PATH}/{key_id}", json=creation | given)


async def _patch(caller: Caller, key_id: str = A, **change: Any) -> Any:
    return await caller.http.patch(f"{PATH}/{key_id}", json={"actor": "op", "change": change})


async def _rotate(caller: Caller, digest: str, *, overlap_seconds: float = 60) -> Any:
    rotation = {"actor": "op", "digest": digest, "overlap_seconds": overlap_seconds}
    return await caller.http.put(f"{PATH}/{A}/digest", json=rotation)


async def _revoke(caller: Caller, key_id: str = A) -> Any:
    return await caller.http.delete(f"{PATH}/{key_id}", params={"actor": "op"})


async def _changes(caller: Caller, after: int, **query: int) -> KeyChanges:
    answer = await caller.http.get(PATH, params={"after_revision": after, **query})
    assert answer.status_code == 200, answer.text
    return KeyChanges.model_validate(answer.json())


def _record(answer: Any) -> KeyRecord:
    assert answer.status_code in (200, 201), answer.text
    return KeyRecord.model_validate(answer.json())


async def _log(pool: Pool) -> list[tuple[str, str, str, str]]:
    rows = await fetch_rows(pool, "SELECT actor, action, subject, detail FROM operator_log ORDER BY id")
    return [(row["actor"], row["action"], row["subject"], row["detail"]) for row in rows]


async def test_a_key_is_made_once_however_often_it_is_asked_for(caller: Caller, pool: Pool) -> None:
    expires_at = utc_now() + timedelta(days=1)
    given = {"limits": {"fetches_per_minute": 7}, "expires_at": expires_at.isoformat()}
    first, again = await _put(caller, **given), await _put(caller, **given)
    assert (first.status_code, again.status_code) == (201, 200) and first.json() == again.json()
    record = _record(first)
    assert (record.id, record.tenant, record.scopes) == (A, "acme", frozenset({Scope.FETCH_READ}))
    assert (record.limits, record.expires_at) == (KeyLimits(fetches_per_minute=7), expires_at)
    assert (record.created_by, record.revision, record.digest) == ("op", 1, _digest(A))
    assert [entry[:3] for entry in await _log(pool)] == [("op", "key.create", A)]
    assert (await _put(caller, digest=_digest("other"))).status_code == 409
    assert _record(await caller.http.get(f"{PATH}/{A}")) == record


async def test_what_is_absent_stays_and_null_takes_away(caller: Caller) -> None:
    await _put(caller, limits={"requests_per_minute": 1, "queued_fetches": 2}, expires_at=at(10**9).isoformat())
    record = _record(await _patch(caller, name="new", limits={"requests_per_minute": 5}))
    assert (record.name, record.scopes, record.expires_at) == ("new", frozenset({Scope.FETCH_READ}), at(10**9))
    assert record.limits == KeyLimits(requests_per_minute=5, queued_fetches=2)
    record = _record(await _patch(caller, limits={"queued_fetches": None}, expires_at=None, scopes=["admin"]))
    assert (record.limits, record.expires_at) == (KeyLimits(requests_per_minute=5), None)
    assert record.scopes == frozenset({Scope.ADMIN})
    assert _record(await _patch(caller, limits=None)).limits == KeyLimits()


def test_a_change_touches_what_it_names() -> None:
    assert changed(RECORD, KeyChange()) == RECORD
    assert changed(RECORD, KeyChange(expires_at=None)).expires_at is None
    assert changed(RECORD, KeyChange(limits=KeyLimits(queued_fetches=None))).limits == KeyLimits(requests_per_minute=1)


def test_after_a_rotation_the_last_digest_is_good_until_the_overlap_ends() -> None:
    once = rotated(RECORD, KeyRotation(actor="op", digest="1" * 64, overlap_seconds=60), now=at(5))
    assert (once.digest, once.previous_digest, once.previous_until) == ("1" * 64, RECORD.digest, at(65))
    assert (once.rotated_at, once.id) == (at(5), RECORD.id)
    assert rotated(once, KeyRotation(actor="op", digest="1" * 64), now=at(6)) is once, "done again"
    twice = rotated(once, KeyRotation(actor="op", digest="2" * 64, overlap_seconds=0), now=at(7))
    assert (twice.digest, twice.previous_digest, twice.previous_until) == ("2" * 64, None, None)


async def test_each_operation_takes_a_revision_and_a_line_and_done_again_neither(caller: Caller, pool: Pool) -> None:
    await _put(caller)
    for _ in range(2):
        await _patch(caller, name="new")
        rotated_to = _record(await _rotate(caller, _digest("second")))
    assert (rotated_to.previous_digest, rotated_to.rotated_at is not None) == (_digest(A), True)
    first, second = _record(await _revoke(caller)), _record(await _revoke(caller))
    assert first == second and first.revoked_at is not None and first.revision == 4
    log = await _log(pool)
    assert [action for _, action, _, _ in log] == ["key.create", "key.change", "key.rotate", "key.revoke"]
    assert '"name": "new"' in log[1][3] and '"revoked_at"' in log[3][3]
    assert not any(digest in detail for digest in (_digest(A), _digest("second")) for *_, detail in log)


async def test_a_revoked_key_stays_as_it_is(caller: Caller) -> None:
    await _put(caller)
    revoked = _record(await _revoke(caller))
    for answer in (await _patch(caller, name="x"), await _rotate(caller, _digest("x"))):
        assert answer.status_code == 409 and KeyRecord.model_validate(answer.json()) == revoked
    assert _record(await caller.http.get(f"{PATH}/{A}")) == revoked


async def test_unknown_keys_malformed_ids_and_strangers(caller: Caller) -> None:
    for answer in (await _patch(caller, name="x"), await _rotate(caller, _digest("x")), await _revoke(caller)):
        assert answer.status_code == 404
    assert (await caller.http.get(f"{PATH}/{A}")).status_code == 404
    assert (await _put(caller, "short")).status_code == 422
    assert (await _put(caller, digest="00")).status_code == 422
    assert (await _put(caller, name="a\0b")).status_code == 422
    for method, path in (("GET", PATH), ("GET", f"{PATH}/{A}"), ("PUT", f"{PATH}/{A}"), ("DELETE", f"{PATH}/{A}")):
        assert (await caller.http.request(method, path, headers={"Authorization": ""})).status_code in (401, 422)
    assert (await caller.http.get(f"{PATH}?after_revision=0", headers={"Authorization": ""})).status_code == 401


async def test_changes_are_followed_in_pages_and_a_changed_key_comes_again(caller: Caller) -> None:
    assert await _changes(caller, 0) == KeyChanges(keys=[], latest_revision=0)
    for key_id in (A, B, C):
        await _put(caller, key_id)
    first = await _changes(caller, 0, limit=2)
    assert ([key.id for key in first.keys], first.latest_revision) == ([A, B], 3)
    rest = await _changes(caller, first.keys[-1].revision, limit=2)
    assert ([key.id for key in rest.keys], rest.latest_revision) == ([C], 3)
    await _revoke(caller, A)
    after = await _changes(caller, 3)
    assert [(key.id, key.revision, key.revoked_at is not None) for key in after.keys] == [(A, 4, True)]
    assert await _changes(caller, 4) == KeyChanges(keys=[], latest_revision=4)


async def test_a_slow_change_is_overtaken_by_none_so_that_followers_miss_none(caller: Caller, pool: Pool) -> None:
    """Were revisions taken without the lock, a reader could see 2 and go on from there before 1 is committed."""
    async with pool.acquire() as slow, slow.transaction():
        await slow.execute(LOCK, LOCK_KEY)
        waiting = [asyncio.create_task(_put(caller, key_id)) for key_id in (A, B)]
        for _ in range(200):
            waits = await fetch_rows(pool, "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if waits[0]["n"] == 2:
                break
            await asyncio.sleep(0.005)
        assert waits[0]["n"] == 2
        assert (await _changes(caller, 0)).latest_revision == 0
    assert sorted(_record(answer).revision for answer in await asyncio.gather(*waiting)) == [1, 2]


async def test_many_changes_at_once_are_all_seen_by_who_follows(caller: Caller) -> None:
    ids = [f"{number:012d}" for number in range(20)]
    seen, revision = set[str](), 0
    writing = asyncio.gather(*(_put(caller, key_id) for key_id in ids))
    async with asyncio.timeout(FOLLOW_SECONDS):
        while len(seen) < len(ids):
            page = await _changes(caller, revision, limit=3)
            assert [key.revision for key in page.keys] == list(range(revision + 1, revision + 1 + len(page.keys)))
            seen |= {key.id for key in page.keys}
            revision += len(page.keys)
    await writing
    assert seen == set(ids) and (await _changes(caller, revision, limit=3)).keys == []


async def test_keys_are_listed_by_tenant_in_pages(caller: Caller) -> None:
    for key_id, tenant in ((A, "acme"), (B, "other"), (C, "acme")):
        await _put(caller, key_id, tenant=tenant)

    async def page(**query: Any) -> KeyPage:
        return KeyPage.model_validate((await caller.http.get(f"{PATH}/page", params=query)).json())

    first = await page(tenant="acme", limit=1)
    assert ([key.id for key in first.items], first.next_cursor) == ([A], A)
    last = await page(tenant="acme", limit=1, after=first.next_cursor)
    assert ([key.id for key in last.items], last.next_cursor) == ([C], None)
    assert [key.id for key in (await page()).items] == [A, B, C]
    assert (await page(tenant="nobody")).items == []


async def test_uses_are_kept_without_a_revision_and_never_go_back(caller: Caller) -> None:
    await _put(caller)

    async def use(*uses: tuple[str, datetime]) -> KeyRecord:
        told = {"uses": [{"id": key_id, "at": used_at.isoformat()} for key_id, used_at in uses]}
        assert (await caller.http.post(f"{PATH}/used", json=told)).status_code == 204
        return _record(await caller.http.get(f"{PATH}/{A}"))

    assert (await use((A, at(5)), (A, at(3)), (B, at(9)))).last_used_at == at(5)
    record = await use((A, at(4)))
    assert (record.last_used_at, record.revision) == (at(5), 1)
    fast = (await use((A, datetime(2999, 1, 1, tzinfo=UTC)))).last_used_at
    assert fast is not None and fast < utc_now() + timedelta(minutes=1), "a gateway's fast clock is not believed"
    await use()
    too_many = {"uses": [{"id": A, "at": at(0).isoformat()}] * 1001}
    assert (await caller.http.post(f"{PATH}/used", json=too_many)).status_code == 422


async def test_an_operation_that_is_not_noted_has_not_happened(caller: Caller, pool: Pool) -> None:
    await _put(caller)
    await fetch_rows(pool, "ALTER TABLE operator_log ADD CONSTRAINT refuses CHECK (action <> 'key.revoke')")
    assert (await _revoke(caller)).status_code == 422
    assert _record(await caller.http.get(f"{PATH}/{A}")).revoked_at is None


def test_a_scope_of_a_later_release_is_passed_over() -> None:
    record = KeyRecord.model_validate(RECORD.model_dump(mode="json") | {"scopes": ["fetch:read", "fetch:fly"]})
    assert record.scopes == frozenset({Scope.FETCH_READ})


async def test_the_stores_role_neither_deletes_keys_nor_edits_the_logs(empty_database_url: str) -> None:
    owner = await asyncpg.connect(empty_database_url)
    await owner.execute("CREATE ROLE keeper_of_keys")
    try:
        await owner.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO keeper_of_keys")
        await migrate(empty_database_url)
        await owner.execute("SET ROLE keeper_of_keys")
        await owner.execute("INSERT INTO operator_log (at, actor, action, subject, detail) VALUES (now(), 'a', 'b', 'c', '{}')")
        assert await owner.fetchval("SELECT count(*) FROM operator_log") == 1
        forbidden = ["DELETE FROM api_keys", "TRUNCATE api_keys"]
        for log in ("operator_log", "audit_log"):
            forbidden += [f"DELETE FROM {log}", f"UPDATE {log} SET at = now()", f"TRUNCATE {log}"]
        for statement in forbidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(statement)
        await owner.execute("UPDATE api_keys SET name = ''")
    finally:
        await owner.execute("RESET ROLE; DROP OWNED BY keeper_of_keys; DROP ROLE keeper_of_keys")
        await owner.close()


async def test_two_reports_of_uses_at_once_cannot_deadlock(caller: Caller) -> None:
    for key_id in (A, B, C):
        await _put(caller, key_id)
    told = [
        {"uses": [{"id": key_id, "at": at(seconds).isoformat()} for key_id in ids]}
        for seconds in range(20)
        for ids in ((A, B, C), (C, B, A))
    ]
    answers = await asyncio.gather(*(caller.http.post(f"{PATH}/used", json=uses) for uses in told))
    assert {answer.status_code for answer in answers} == {204}
    assert _record(await caller.http.get(f"{PATH}/{A}")).last_used_at == at(19)
