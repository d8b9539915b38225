"""One batch as a reader sees it: how many of its fetches are where, without looking at each of them."""

import json
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.batches import BatchCounts, BatchView

from store.database import Pool, fetch_rows
from store.queries import query

READ = query("batches_read")


async def read_batch(pool: Pool, batch_id: UUID, *, tenant: str, now: datetime | None = None) -> BatchView | None:
    """The tenant's batch, or None when the ledger has none of this id. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, READ, batch_id, tenant, now)
    return _view(rows[0]) if rows else None


def _view(row: asyncpg.Record) -> BatchView:
    """What is neither terminal nor running is queued, also while it is on its way into the ledger."""
    total = row["accepted"]
    terminal = {name: int(fetches) for name, fetches in json.loads(row["counts"] or "{}").items()}
    pending = max(0, total - sum(terminal.values()))
    running = min(row["running"], pending)
    return BatchView(
        id=row["id"],
        created_at=row["created_at"],
        total=total,
        rejected=row["rejected"],
        is_whole=row["is_whole"],
        counts=BatchCounts(queued=pending - running, running=running, **terminal),
        finished=pending == 0,
        errors=json.loads(row["errors"]),
    )
