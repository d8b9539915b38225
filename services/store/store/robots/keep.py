"""Keep and give out robots.txt files. What is in them, and until when they hold, is the fetchers' business."""

from common.contracts.robots import RobotsFile

from store.database import Pool, fetch_rows
from store.queries import query

READ = query("robots_read")
KEEP = query("robots_keep")


async def read_robots(pool: Pool, origin: str) -> RobotsFile | None:
    """The newest file of an origin, expired or not, or None. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, READ, origin)
    if not rows:
        return None
    row = rows[0]
    return RobotsFile(
        origin=row["origin"],
        availability=row["availability"],
        status=row["status"],
        text=row["body"].decode(errors="replace"),
        fetched_at=row["fetched_at"],
        expires_at=row["expires_at"],
    )


async def keep_robots(pool: Pool, file: RobotsFile) -> None:
    """Keep the file unless a newer one is here. Idempotent. Raises DatabaseUnavailable."""
    await fetch_rows(
        pool, KEEP, file.origin, file.availability.value, file.status, file.text.encode(), file.fetched_at, file.expires_at
    )
