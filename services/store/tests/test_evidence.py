"""What readers see of an attempt, and what only the audit log holds."""

import re
from pathlib import Path

import asyncpg
import pytest
from common.contracts.fetches import (
    CharsetSource,
    ErrorType,
    Evidence,
    FetchError,
    Hop,
    Outcome,
    OutcomeKind,
    Redirect,
    ResponseHead,
    RobotsEvidence,
    RobotsVerdict,
)
from ledger_words import PACE, accept_events, accepted, at, attempted
from store.database import Pool, fetch_rows, in_transaction
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, record
from store.migrate import migrate

PUBLIC = Hop(url="http://a.test/", verdict="public", addresses=("192.0.2.1",), peer="192.0.2.1", status=302)
REFUSED = Hop(url="http://in.test:8080/", verdict="deny_private", addresses=("10.0.0.1", "10.0.0.2"), peer="10.0.0.2")


async def _recorded(pool: Pool, outcome: Outcome, *, times: int = 1) -> str:
    event = accepted(1)
    await accept_events(pool, event, now=at(0))
    work = [Attempt(attempted=attempted(event.data.fetches[0].id, outcome))]
    for _ in range(times):
        await in_transaction(pool, lambda c: record(c, work, source="store/t", pace=PACE, now=at(1), jitter=lambda: 1.0))
    view = await read_fetch(pool, event.data.fetches[0].id, has_fetcher=True)
    assert view is not None
    return view.model_dump_json()


async def test_refused_addresses_are_in_the_audit_log_once_and_nowhere_else(pool: Pool) -> None:
    error = FetchError(type=ErrorType.REFUSED_ADDRESS, detail="d")
    outcome = Outcome(kind=OutcomeKind.REFUSED, error=error, evidence=Evidence(hops=(PUBLIC, REFUSED)))
    shown = await _recorded(pool, outcome, times=2)
    assert "192.0.2.1" in shown and "deny_private" in shown and "10.0.0." not in shown
    assert "10.0.0." not in str(await fetch_rows(pool, "SELECT evidence FROM attempts"))
    (row,) = await fetch_rows(pool, "SELECT at, host, verdict, addresses, peer, attempt FROM audit_log")
    assert tuple(row) == (at(1), "in.test", "deny_private", ["10.0.0.1", "10.0.0.2"], "10.0.0.2", 1)


async def test_what_an_earlier_release_stored_is_not_shown_either(pool: Pool) -> None:
    outcome = Outcome(kind=OutcomeKind.REFUSED, evidence=Evidence(hops=(REFUSED,)))
    await _recorded(pool, outcome)
    await fetch_rows(pool, "UPDATE attempts SET evidence = $1::jsonb", Evidence(hops=(REFUSED,)).model_dump_json())
    fetch_id = (await fetch_rows(pool, "SELECT id FROM fetches"))[0]["id"]
    view = await read_fetch(pool, fetch_id, has_fetcher=True)
    assert view is not None and "10.0.0." not in view.model_dump_json()


async def test_the_facts_of_a_response_are_kept_and_a_nul_of_a_stranger_costs_nothing(pool: Pool) -> None:
    head = ResponseHead(
        status=200,
        headers=(("A", "b\0c"),),
        detected_media_type="text/html",
        charset="utf-8",
        charset_source=CharsetSource.META,
        coding="gzip",
        redirects=(Redirect(url="http://a.test/", status=302),),
        final_url="http://a.test/1",
    )
    robots = RobotsEvidence(verdict=RobotsVerdict.ALLOWED, line="Allow: /\0")
    shown = await _recorded(pool, Outcome(kind=OutcomeKind.FETCHED, response=head, evidence=Evidence(robots=robots)))
    for fact in ('"a":"bc"', "text/html", '"charset_source":"meta"', '"coding":"gzip"', '"status":302', '"line":"Allow: /"'):
        assert fact in shown, fact


async def test_nobody_but_the_owner_changes_the_audit_log(empty_database_url: str) -> None:
    owner = await asyncpg.connect(empty_database_url)
    await owner.execute("CREATE ROLE writer_of_audits")
    try:
        await owner.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO writer_of_audits")
        await migrate(empty_database_url)
        await owner.execute("SET ROLE writer_of_audits")
        columns = "at, fetch_id, attempt, host, verdict, addresses"
        await owner.execute(
            f"INSERT INTO audit_log ({columns}) VALUES (now(), gen_random_uuid(), 1, 'h', 'deny_private', '{{}}')"  # noqa: S608
        )
        assert await owner.fetchval("SELECT count(*) FROM audit_log") == 1
        for statement in ("UPDATE audit_log SET host = ''", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(statement)
    finally:
        await owner.execute("RESET ROLE; DROP OWNED BY writer_of_audits; DROP ROLE writer_of_audits")
        await owner.close()


async def test_the_owner_prunes_old_audits_as_documented_and_nothing_else(pool: Pool, repository: Path) -> None:
    error = FetchError(type=ErrorType.REFUSED_ADDRESS, detail="d")
    outcome = Outcome(kind=OutcomeKind.REFUSED, error=error, evidence=Evidence(hops=(REFUSED,)))
    for _ in range(3):
        await _recorded(pool, outcome)
    old, recent, pending = [row["id"] for row in await fetch_rows(pool, "SELECT id FROM fetches ORDER BY id")]
    finish = "UPDATE fetches SET status = 'failed', error_type = 'dns', finished_at = now() WHERE id <> $1"
    await fetch_rows(pool, finish, pending)
    for table, column in (("audit_log", "at"), ("attempts", "finished_at")):
        ago = "now() - make_interval(days => CASE WHEN fetch_id = $1 THEN 1 ELSE 400 END)"
        await fetch_rows(pool, f"UPDATE {table} SET {column} = {ago}", recent)  # noqa: S608
    [statements] = re.findall(r"```sql\n(.*?)```", (repository / "docs/states.md").read_text(), re.DOTALL)
    async with pool.acquire() as connection:
        await connection.execute(statements)
    assert [row["fetch_id"] for row in await fetch_rows(pool, "SELECT fetch_id FROM audit_log")] == [recent]
    kept = {row["fetch_id"] for row in await fetch_rows(pool, "SELECT fetch_id FROM attempts")}
    assert kept == {old, recent, pending}, "attempts are the store's to prune"


async def test_the_owner_prunes_what_operators_did_long_ago_as_documented(pool: Pool, repository: Path) -> None:
    await fetch_rows(
        pool,
        "INSERT INTO operator_log (at, actor, action, subject, detail) "
        "SELECT now() - make_interval(days => days), 'a', 'key.create', days::text, '{}' FROM unnest(ARRAY[1000, 1]) AS days",
    )
    [statements] = re.findall(r"```sql\n(.*?)```", (repository / "docs/states.md").read_text(), re.DOTALL)
    async with pool.acquire() as connection:
        await connection.execute(statements)
    assert [row["subject"] for row in await fetch_rows(pool, "SELECT subject FROM operator_log")] == ["1"]
