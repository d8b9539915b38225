"""Pages of a tenant's fetches, the newest first, by whichever index narrows them most."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from common.contracts.fetches import FetchStatus

from store.database import Pool, fetch_rows
from store.queries import query

ALL = query("fetches_page")
OF_BATCH = query("fetches_page_of_batch")
OF_LABEL = query("fetches_page_of_label")
OF_HOST = query("fetches_page_of_host")
RUNNING = query("fetches_page_running")
QUEUED = query("fetches_page_queued")
WITHOUT_RESPONSE = query("fetches_page_without_response")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a caller lists: its tenant's fetches that all of these hold for."""

    tenant: str
    status: FetchStatus | None = None
    host: str | None = None
    label: str | None = None
    batch_id: UUID | None = None


async def page_ids(
    pool: Pool, filters: Filters, *, limit: int, before: UUID | None, now: datetime | None = None
) -> list[UUID]:
    """The ids of at most `limit` fetches made before the one with the id `before`. Raises DatabaseUnavailable."""
    status = filters.status.value if filters.status is not None else None
    place = (filters.tenant, before, limit)
    narrow = (status, now, filters.host, filters.label, filters.batch_id)
    if filters.batch_id is not None:
        rows = await fetch_rows(pool, OF_BATCH, *place, *narrow)
    elif filters.label is not None:
        rows = await fetch_rows(pool, OF_LABEL, *place, *narrow)
    elif filters.host is not None:
        rows = await fetch_rows(pool, OF_HOST, *place, *narrow)
    elif filters.status is FetchStatus.RUNNING:
        rows = await fetch_rows(pool, RUNNING, *place, now)
    elif filters.status is FetchStatus.QUEUED:
        rows = await fetch_rows(pool, QUEUED, *place, now)
    elif filters.status is None or filters.status is FetchStatus.SUCCEEDED:
        rows = await fetch_rows(pool, ALL, *place, status)
    else:
        rows = await fetch_rows(pool, WITHOUT_RESPONSE, *place, status)
    return [row["id"] for row in rows]
