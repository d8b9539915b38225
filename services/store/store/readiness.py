"""What the store needs to answer its callers, and what only its loops need."""

from collections.abc import Callable

from common.chassis.health import Check, Soft, Unhealthy
from common.streams.names import ACCEPTED_STREAM
from redis.asyncio import Redis

from store.database import Pool, fetch_rows
from store.migrate import migrations

SCHEMA_VERSION = "SELECT max(version) AS version FROM schema_migrations"


def store_checks(*, pool: Pool, events: Redis, broker: Redis, has_fetcher: Callable[[], bool]) -> dict[str, Check]:
    """Hard are Postgres and its schema, which every answer needs. Without a Redis the loops rest, and reads go on."""
    needed = migrations()[-1].version

    async def postgres() -> None:
        await fetch_rows(pool, "SELECT 1")

    async def schema() -> None:
        [row] = await fetch_rows(pool, SCHEMA_VERSION)
        if (row["version"] or 0) < needed:  # a later one was made by a newer store, which earlier ones get on with
            raise Unhealthy(f"version {row['version'] or 0}, needs {needed}")

    async def accepts_promises() -> None:
        if not await events.exists(ACCEPTED_STREAM):
            raise Unhealthy("has no stream of accepted fetches")

    async def ping_broker() -> None:
        await broker.ping()

    async def fetchers() -> None:
        if not has_fetcher():
            raise Unhealthy("none announces itself")

    return {
        "postgres": postgres,
        "schema": schema,
        "events": Soft(accepts_promises, is_needed_once=True),
        "broker": Soft(ping_broker, is_needed_once=True),
        "fetchers": Soft(fetchers),
    }
