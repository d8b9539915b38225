"""Keys as gateways follow them and operators list them."""

from common.contracts.keys import KeyChanges, KeyPage, KeyRecord

from store.database import Pool, fetch_rows
from store.keys.rows import record_of_row
from store.queries import query

ONE = query("keys_one")
CHANGED = query("keys_changed")
LATEST = query("keys_latest")
PAGE = query("keys_page")
PAGE_OF_TENANT = query("keys_page_of_tenant")


async def read_key(pool: Pool, key_id: str) -> KeyRecord | None:
    """One key, also a revoked one. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, ONE, key_id, None)
    return record_of_row(rows[0]) if rows else None


async def read_changes(pool: Pool, *, after_revision: int, limit: int) -> KeyChanges:
    """At most `limit` keys that changed after that revision, in the order of their changes. Raises DatabaseUnavailable.

    Whoever goes on from the last revision that it was given misses none.
    """
    rows = await fetch_rows(pool, CHANGED, after_revision, limit)
    latest = rows[0] if rows else (await fetch_rows(pool, LATEST))[0]
    return KeyChanges(keys=[record_of_row(row) for row in rows], latest_revision=latest["latest_revision"])


async def read_keys(pool: Pool, *, tenant: str | None, limit: int, after: str) -> KeyPage:
    """At most `limit` keys in the order of their ids, of one tenant or of all. Raises DatabaseUnavailable."""
    if tenant is None:
        rows = await fetch_rows(pool, PAGE, after, limit + 1)
    else:
        rows = await fetch_rows(pool, PAGE_OF_TENANT, after, limit + 1, tenant)
    page = [record_of_row(row) for row in rows[:limit]]
    return KeyPage(items=page, next_cursor=page[-1].id if len(rows) > limit else None)
