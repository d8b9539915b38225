"""Take a pending fetch back: it ends as cancelled, and an attempt that is out changes nothing about it any more."""

from datetime import datetime
from uuid import UUID

from store.database import Connection
from store.fetches.finish import Finished, finish_fetches
from store.fetches.lifecycle import cancel
from store.hosts.rows import expect_work
from store.queries import query

LOCK = query("queue_lock")


async def cancel_fetch(
    connection: Connection, fetch_id: UUID, *, source: str, now: datetime | None, tenant: str | None = None
) -> Finished:
    """End one pending fetch as cancelled, in the caller's transaction; one not pending, or of another tenant, stays as it is.

    Of those that waited for it one goes on in its place. The lane of one that runs comes free with its outcome, or its lease.
    """
    if not await connection.fetch(LOCK, fetch_id, tenant):
        return Finished()
    finished = await finish_fetches(connection, [cancel(fetch_id)], source=source, now=now)
    await expect_work(connection, sorted(finished.released), now=now)
    return finished
