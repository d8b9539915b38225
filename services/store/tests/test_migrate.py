"""Migrations: what they build is what schema.sql says, one migrator at a time, and never an edited one."""

import asyncio
from importlib.resources import files

import asyncpg
import pytest
from store.errors import DatabaseUnavailable, MigrationRefused
from store.migrate import LOCK_KEY, SERVER_SETTINGS, migrate, migrations

CATALOG = """
SELECT 'column' AS kind, table_name::text || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
       || coalesce(column_default, '') || ' ' || is_identity AS text
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass::text || '.' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'options', relname || ' ' || coalesce(reloptions::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'storage', attrelid::regclass::text || '.' || attname || ' ' || attstorage::text
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
ORDER BY 1, 2
"""


async def _catalog(url: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(CATALOG)
    await connection.close()
    return [(row["kind"], row["text"]) for row in rows if "schema_migrations" not in row["text"]]


async def test_schema_sql_is_what_the_migrations_build(empty_database_url: str, database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(files("store.sql").joinpath("schema.sql").read_text())
    await connection.close()
    built = await _catalog(database_url)
    assert len(built) > 50
    assert await _catalog(empty_database_url) == built


async def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    first = await migrate(empty_database_url)
    assert [migration.version for migration in first] == [migration.version for migration in migrations()]
    assert await migrate(empty_database_url) == []


async def test_three_migrators_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))
    assert sorted(len(part) for part in applied) == [0, 0, len(migrations())]


async def test_an_edited_migration_is_refused(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("UPDATE schema_migrations SET digest = 'other' WHERE version = 1")
    await connection.close()
    with pytest.raises(MigrationRefused, match="0001"):
        await migrate(empty_database_url)


async def test_a_migrator_gives_up_when_another_keeps_the_lock(empty_database_url: str) -> None:
    holder = await asyncpg.connect(empty_database_url)
    await holder.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    with pytest.raises(DatabaseUnavailable, match="lock"):
        await migrate(empty_database_url, lock_timeout_seconds=0.3)
    await holder.close()


async def test_a_newer_schema_is_tolerated(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("INSERT INTO schema_migrations (version, name, digest) VALUES (9999, 'later', 'd')")
    await connection.close()
    assert await migrate(empty_database_url) == []


async def test_only_the_owner_writes_the_history(empty_database_url: str) -> None:
    owner = await asyncpg.connect(empty_database_url)
    await owner.execute("CREATE ROLE reader_of_history")
    try:
        await owner.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO reader_of_history")
        await migrate(empty_database_url)
        rights = {
            table: [
                right
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
                if await owner.fetchval("SELECT has_table_privilege('reader_of_history', $1, $2)", table, right)
            ]
            for table in ("schema_migrations", "fetches")
        }
        assert rights == {"schema_migrations": ["SELECT"], "fetches": ["SELECT", "INSERT", "UPDATE", "DELETE"]}
    finally:
        await owner.execute("DROP OWNED BY reader_of_history; DROP ROLE reader_of_history")
        await owner.close()


async def test_a_migration_waits_for_traffic_that_holds_its_table(empty_database_url: str) -> None:
    """For longer than one try may: those that queue behind it would wait as long."""
    await migrate(empty_database_url)
    owner, traffic = await asyncpg.connect(empty_database_url), await asyncpg.connect(empty_database_url)
    await owner.execute("DROP INDEX fetches_of_content; DELETE FROM schema_migrations WHERE version = 7")
    async with traffic.transaction():
        await traffic.execute("LOCK TABLE fetches IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(migrate(empty_database_url))
        while not await owner.fetchval("SELECT 1 FROM pg_stat_database WHERE xact_rollback > 0 AND datname = current_database()"):
            assert not migrating.done()
            await asyncio.sleep(0.1)
    assert [migration.version for migration in await migrating] == [7]
    await traffic.close()
    await owner.close()


async def test_a_migrator_that_does_nothing_loses_its_lock(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url, server_settings=SERVER_SETTINGS | {"idle_session_timeout": "200ms"})
    await connection.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    assert await migrate(empty_database_url), "the lock was never free"
    assert connection.is_closed()


async def test_a_held_history_is_told_as_an_absence_of_the_database(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    holder = await asyncpg.connect(empty_database_url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE schema_migrations IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable, match="LockNotAvailable"):
            await migrate(empty_database_url)
    await holder.close()
