"""The append-only logs as operators read them: what they did (`operator_log`), and refused targets (`audit_log`)."""

import json

from common.contracts.audit import OperationPage, OperationView, RefusalPage, RefusalView

from store.database import Pool, fetch_rows
from store.queries import query

OPERATIONS = query("operator_log_page")
REFUSALS = query("audit_page")
NEWEST = 2**63 - 1


async def read_operations(pool: Pool, *, limit: int, after: int) -> OperationPage:
    """At most `limit` operations, the newest first, older than `after`. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, OPERATIONS, after, limit + 1)
    items = [OperationView(**{**row, "detail": json.loads(row["detail"])}) for row in rows[:limit]]
    return OperationPage(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)


async def read_refusals(pool: Pool, *, limit: int, after: int) -> RefusalPage:
    """At most `limit` refused targets, the newest first, older than `after`. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, REFUSALS, after, limit + 1)
    items = [RefusalView(**row) for row in rows[:limit]]
    return RefusalPage(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)
