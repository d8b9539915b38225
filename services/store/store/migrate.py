"""Bring the schema to the newest migration, one migrator at a time, without ever blocking on the lock.

A session that waits in pg_advisory_lock() is a running statement with a snapshot, which makes CREATE INDEX
CONCURRENTLY wait for it in turn; so the lock is polled. Applied migrations are never edited: their digests are kept.
A migrator that froze or is cut off loses its session, and with it all locks. A migration that does not get its locks in time
makes way for the traffic that queues behind it, and is tried again.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from store.database import CONNECT_TIMEOUT_SECONDS, TRANSIENT
from store.errors import DatabaseUnavailable, MigrationRefused

LOCK_KEY = 0x66657463  # "fetc"
LOCK_POLL_SECONDS = 0.2
LOCK_TIMEOUT_SECONDS = 60.0
DDL_TIMEOUT_SECONDS = 300.0
DDL_TRIES = 15
DDL_REST_SECONDS = 1.0
SERVER_SETTINGS = {
    "application_name": "fetchwork-migrator",
    "lock_timeout": "2s",
    "idle_session_timeout": "15s",
    "idle_in_transaction_session_timeout": "15s",
}

_FILE_NAME = re.compile(r"\A(\d{4})_(\w+)\.sql\Z")
_CREATE_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     NOT NULL,
    name       text        NOT NULL,
    digest     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file: its statements and the digest that proves it unchanged."""

    version: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations on disk in order. Raises MigrationRefused when a number is missing or taken twice."""
    found = []
    for file in files("store.sql.migrations").iterdir():
        match = _FILE_NAME.match(file.name)
        if match:
            found.append(Migration(version=int(match[1]), name=match[2], text=file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationRefused("migration numbers must run from 0001 without a gap")
    return found


async def migrate(url: str, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> list[Migration]:
    """Apply what is missing, each migration in its own transaction; returns what was applied. Idempotent.

    Raises MigrationRefused when an applied migration was edited or is unknown, DatabaseUnavailable when Postgres
    cannot be reached, another migrator keeps the lock longer than `lock_timeout_seconds`, or others keep a table's.
    """
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_SECONDS, command_timeout=DDL_TIMEOUT_SECONDS, server_settings=SERVER_SETTINGS
        )
    except (*TRANSIENT, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"cannot connect: {type(error).__name__}") from error
    try:
        await _lock(connection, timeout_seconds=lock_timeout_seconds)
        await connection.execute(_CREATE_HISTORY)
        return await _apply_missing(connection, migrations())
    except (*TRANSIENT, asyncpg.LockNotAvailableError) as error:
        raise DatabaseUnavailable(f"while migrating: {type(error).__name__}") from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)  # ends the session and with it the lock


async def _lock(connection: asyncpg.Connection, *, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                await asyncio.sleep(LOCK_POLL_SECONDS)
    except TimeoutError as error:
        raise DatabaseUnavailable("another migrator holds the lock") from error


async def _apply_missing(connection: asyncpg.Connection, known: list[Migration]) -> list[Migration]:
    rows = await connection.fetch("SELECT version, name, digest FROM schema_migrations ORDER BY version")
    by_version = {migration.version: migration for migration in known}
    for row in rows:
        migration = by_version.get(row["version"])
        if migration is None:
            continue  # the database is ahead: a newer store has migrated it, which older stores tolerate
        if migration.digest != row["digest"]:
            raise MigrationRefused(f"migration {row['version']:04} ({row['name']}) was edited after it was applied")
    applied = {row["version"] for row in rows}
    missing = [migration for migration in known if migration.version not in applied]
    for migration in missing:
        await _apply(connection, migration)
    return missing


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    for remaining in reversed(range(DDL_TRIES)):
        try:
            async with connection.transaction():
                await connection.execute(migration.text)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, digest) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.digest,
                )
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if not remaining:
                raise DatabaseUnavailable(f"migration {migration.version:04} does not get its locks") from error
        await asyncio.sleep(DDL_REST_SECONDS)
