"""Batches as Firecrawl shows them: how far they are, and the documents of their pages, the newest first."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from common.contracts.batches import BatchView
from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView

from gateway.dependencies import Means
from gateway.firecrawl.documents import NoText, document
from gateway.firecrawl.submissions import URLS_LIMIT
from gateway.principal import Principal

LIST_PAGE_FETCHES = 200
DATA_PAGE_FETCHES = 50
DATA_PAGE_CHARACTERS = 10 * 1024 * 1024
"""Of text in one answer; what would exceed it waits for the next, but one document is always given."""
KEPT_SECONDS = 24 * 3600.0
"""How long Firecrawl promises to know a batch. Ours stay; clients are told the same."""


def status_of(batch: BatchView) -> str:
    """Firecrawl's word for how far a batch is; `failed` when there is not one page to show."""
    if not batch.finished:
        return "scraping"
    if batch.counts.cancelled:
        return "cancelled"
    return "completed" if batch.counts.succeeded else "failed"


async def fetches_of(
    batch_id: UUID, means: Means, principal: Principal, *, status: FetchStatus | None = None
) -> AsyncIterator[FetchView]:
    """The batch's fetches in the ledger, the newest first; URLS_LIMIT at most, also of one that came otherwise and has more."""
    after: UUID | None = None
    for _ in range(URLS_LIMIT // LIST_PAGE_FETCHES):
        page = await means.store.list_fetches(
            tenant=principal.tenant, limit=LIST_PAGE_FETCHES, after=after, status=status, batch_id=str(batch_id)
        )
        for view in page.items:
            yield view
        if page.next_cursor is None:
            return
        after = UUID(page.next_cursor)


async def read_documents(
    batch_id: UUID, means: Means, principal: Principal, *, after: UUID | None
) -> tuple[list[dict[str, Any]], UUID | None]:
    """The documents behind `after` that are there, and behind which fetch the next ones follow, None at the end.

    Pages that failed have none; one whose body is no text has metadata that say so.
    """
    page = await means.store.list_fetches(
        tenant=principal.tenant, limit=DATA_PAGE_FETCHES, after=after, batch_id=str(batch_id)
    )
    documents: list[dict[str, Any]] = []
    characters = 0
    passed = after
    for view in page.items:
        made = await read_document(view, means, principal)
        if made is not None:
            characters += sum(len(made.get(format, "")) for format in ("rawHtml", "html"))
            if documents and characters > DATA_PAGE_CHARACTERS:
                return documents, passed
            documents.append(made)
        passed = view.id
    return documents, passed if page.next_cursor is not None else None


async def read_document(view: FetchView, means: Means, principal: Principal) -> dict[str, Any] | None:
    """The document of a fetch, None when it has no response (yet)."""
    if view.status is not FetchStatus.SUCCEEDED or view.response is None:
        return None
    stored = await means.store.read_content(view.id, tenant=principal.tenant)
    if stored is None:
        return None
    try:
        return await asyncio.to_thread(document, view, view.response, stored)
    except NoText as error:
        return {"metadata": {"sourceURL": view.url, "statusCode": view.response.status, "error": str(error)}}


def expires_at(batch_id: UUID) -> datetime:
    """Until when clients are told to ask for a batch. Its id tells when it was made (RFC 9562 section 5.7)."""
    return datetime.fromtimestamp((batch_id.int >> 80) / 1000, UTC) + timedelta(seconds=KEPT_SECONDS)
