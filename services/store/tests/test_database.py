"""The door to Postgres: whole transactions again after a lost connection, never again after refused data."""

import asyncpg
import pytest
from store.database import SERVER_SETTINGS, TRANSACTION_TRIES, Connection, Pool, fetch_rows, in_transaction, open_pool
from store.errors import DatabaseUnavailable, DataRefused

INSERT = "INSERT INTO outbox (event, created_at) VALUES ($1, now())"


async def test_a_transaction_whose_connection_is_cut_runs_again_whole(pool: Pool) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute(INSERT, f"try {tries}")
        if tries == 1:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    await in_transaction(pool, work)
    assert [row["event"] for row in await fetch_rows(pool, "SELECT event FROM outbox")] == ["try 2"]


async def test_a_connection_that_is_always_cut_ends_in_a_plain_error(pool: Pool) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailable):
        await in_transaction(pool, work)
    assert tries == TRANSACTION_TRIES


async def test_refused_data_is_not_tried_again_and_leaves_nothing(pool: Pool) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute(INSERT, "half")
        await connection.execute("INSERT INTO contents VALUES ('short', 1, 1, 'x', now())")

    with pytest.raises(DataRefused, match="contents_digest_is_sha256"):
        await in_transaction(pool, work)
    assert tries == 1
    assert await fetch_rows(pool, "SELECT event FROM outbox") == []


async def test_a_statement_that_takes_too_long_is_ended_by_postgres(pool: Pool) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
    [row] = await fetch_rows(pool, "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in names))
    assert [row[name] for name in names] == ["8s", "2s", "15s", "20s"]


async def test_a_store_that_froze_between_parse_and_bind_loses_its_locks(pool: Pool, database_url: str) -> None:
    """asyncpg flushes there and does not sync, so Postgres does not take the session for idle: its other timeout never comes."""
    settings = {"transaction_timeout": "1s", "idle_in_transaction_session_timeout": "500ms"}
    frozen = await asyncpg.connect(database_url, server_settings=SERVER_SETTINGS | settings)
    await frozen.execute("BEGIN")
    await frozen.execute("SELECT pg_advisory_xact_lock(46)")
    await frozen.prepare("SELECT 1 AS prepared_and_not_run")
    async with pool.acquire() as other:
        await other.execute("SET lock_timeout = '8s'")  # on a machine that is busy with others
        await other.execute("SELECT pg_advisory_lock(46)")
        await other.execute("SELECT pg_advisory_unlock(46)")
    frozen.terminate()


async def test_a_postgres_that_is_too_old_is_named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVER_SETTINGS, "no_such_setting", "1")  # as an older one takes `transaction_timeout`
    with pytest.raises(DatabaseUnavailable, match="Postgres 17 or newer is needed: .*no_such_setting"):
        async with open_pool(database_url, size=1):
            pass
