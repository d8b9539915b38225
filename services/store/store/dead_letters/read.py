"""Parked messages as operators see them."""

import asyncpg
from common.contracts.dead_letters import DeadLetterPage, DeadLetterView

from store.database import Pool, fetch_rows
from store.queries import query

PAGE = query("dead_letters_page")
SHOWN_BYTES = 2000
NEWEST = 2**63 - 1


async def read_dead_letters(pool: Pool, *, limit: int, after: int | None) -> DeadLetterPage:
    """At most `limit` parked messages, the newest first, older than `after`. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, PAGE, NEWEST if after is None else after, limit + 1, SHOWN_BYTES)
    page = rows[:limit]
    return DeadLetterPage(items=[view_of(row) for row in page], next_cursor=str(page[-1]["id"]) if len(rows) > limit else None)


def view_of(row: asyncpg.Record) -> DeadLetterView:
    """One row. What is not text is replaced."""
    return DeadLetterView(
        id=row["id"],
        stream=row["stream"],
        entry_id=row["entry_id"],
        reason=row["reason"],
        created_at=row["created_at"],
        size_bytes=row["size_bytes"],
        text=row["beginning"].decode(errors="replace"),
        redriven_at=row["redriven_at"],
    )
