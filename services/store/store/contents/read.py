"""The stored body of a fetch, as it is stored: zstd bytes."""

from dataclasses import dataclass
from uuid import UUID

from common.contracts.fetches import FetchStatus

from store.contents.digests import digest_text
from store.contents.keep import Content
from store.database import Pool, fetch_rows
from store.queries import query

OF_FETCH = query("contents_of_fetch")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchContent:
    """A fetch's status, and its body when it has one."""

    status: FetchStatus
    digest: str | None
    content: Content | None


async def read_content(pool: Pool, fetch_id: UUID, *, tenant: str | None = None) -> FetchContent | None:
    """The body of a fetch, or None when the ledger does not have the fetch, or not of this tenant. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, OF_FETCH, fetch_id, tenant)
    if not rows:
        return None
    row = rows[0]
    if row["body"] is None:
        return FetchContent(status=FetchStatus(row["status"]), digest=None, content=None)
    content = Content(size_bytes=row["size_bytes"], body=row["body"])
    return FetchContent(status=FetchStatus(row["status"]), digest=digest_text(row["digest"]), content=content)
