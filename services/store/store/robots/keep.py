"""Keep and give out robots.txt files. What is in them, and until when they hold, is the fetchers' business."""

from collections.abc import Sequence

import asyncpg
from common.contracts.robots import RobotsFile

from store.database import Pool, fetch_rows
from store.queries import query

READ = query("robots_read")
READ_SEVERAL = query("robots_read_several")
KEEP = query("robots_keep")


async def read_robots(pool: Pool, origin: str) -> RobotsFile | None:
    """The newest file of an origin, expired or not, or None. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, READ, origin)
    return _file(rows[0]) if rows else None


async def read_several(pool: Pool, origins: Sequence[str], *, limit_bytes: int) -> tuple[list[RobotsFile], list[str]]:
    """The newest files of these origins, expired or not, the smallest first, and origins whose file is beyond the limit.

    Raises DatabaseUnavailable.
    """
    rows = await fetch_rows(pool, READ_SEVERAL, list(origins), limit_bytes) if origins else []
    return [_file(row) for row in rows if row["fits"]], [row["origin"] for row in rows if not row["fits"]]


async def keep_robots(pool: Pool, file: RobotsFile) -> None:
    """Keep the file unless a newer one is here. Idempotent. Raises DatabaseUnavailable."""
    await fetch_rows(
        pool, KEEP, file.origin, file.availability.value, file.status, file.text.encode(), file.fetched_at, file.expires_at
    )


def _file(row: asyncpg.Record) -> RobotsFile:
    return RobotsFile(
        origin=row["origin"],
        availability=row["availability"],
        status=row["status"],
        text=row["body"].decode(errors="replace"),
        fetched_at=row["fetched_at"],
        expires_at=row["expires_at"],
    )
