"""Internal: fetches for the gateway: views, pages, what was asked, the stored body as it is stored, and taking one back.

Whoever names no tenant may see all: an earlier gateway, which knows none.
"""

from typing import Annotated
from uuid import UUID

from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.hosts import HOST_LIMIT_CHARACTERS
from common.contracts.tenants import Tenant
from common.contracts.views import FetchPage, FetchView
from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.responses import JSONResponse

from store.api.access import Access, get_access
from store.contents.read import read_content
from store.database import in_transaction
from store.fetches.cancel import cancel_fetch
from store.fetches.pages import Filters, page_ids
from store.fetches.read import read_fetch, read_fetches, read_request
from store.handlers import note_finished

FETCHES_LIMIT = 200
FETCHES_DEFAULT = 50
Asking = Annotated[Tenant | None, Query()]

router = APIRouter(prefix="/internal/v1/fetches")


@router.get("")
async def list_fetches(
    tenant: Annotated[Tenant, Query()],
    access: Annotated[Access, Depends(get_access)],
    limit: Annotated[int, Query(ge=1, le=FETCHES_LIMIT)] = FETCHES_DEFAULT,
    after: UUID | None = None,
    status: FetchStatus | None = None,
    host: Annotated[str | None, Query(min_length=1, max_length=HOST_LIMIT_CHARACTERS)] = None,
    label: Annotated[str | None, Query(max_length=64)] = None,
    batch_id: UUID | None = None,
) -> FetchPage:
    """The tenant's fetches, the newest first, from the one after `after` on."""
    filters = Filters(tenant=tenant, status=status, host=host, label=label, batch_id=batch_id)
    ids = await page_ids(access.pool, filters, limit=limit + 1, before=after)
    views = await read_fetches(
        access.pool, ids[:limit], has_fetcher=access.has_fetcher(), pace=access.pace, tenant=tenant
    )
    return FetchPage(items=views, next_cursor=str(ids[limit - 1]) if len(ids) > limit else None)


@router.get("/{fetch_id}")
async def get_fetch(
    fetch_id: UUID, access: Annotated[Access, Depends(get_access)], tenant: Asking = None, knows_hosts: bool = False
) -> FetchView:
    """The fetch, or 404 when the ledger does not have it (yet). An earlier gateway cannot read what hosts make wait."""
    view = await read_fetch(
        access.pool,
        fetch_id,
        has_fetcher=access.has_fetcher(),
        pace=access.pace if knows_hosts else None,
        tenant=tenant,
    )
    if view is None:
        raise HTTPException(404, "unknown fetch")
    return view


@router.get("/{fetch_id}/request")
async def get_request(
    fetch_id: UUID, tenant: Annotated[Tenant, Query()], access: Annotated[Access, Depends(get_access)]
) -> AcceptedFetch:
    """The fetch as it was accepted, or 404."""
    fetch = await read_request(access.pool, fetch_id, tenant=tenant)
    if fetch is None:
        raise HTTPException(404, "unknown fetch")
    return fetch


@router.get("/{fetch_id}/content")
async def get_content(fetch_id: UUID, access: Annotated[Access, Depends(get_access)], tenant: Asking = None) -> Response:
    """The body as zstd bytes with its digest and decoded size in headers; 204 when the fetch has none, or none yet."""
    found = await read_content(access.pool, fetch_id, tenant=tenant)
    if found is None:
        raise HTTPException(404, "unknown fetch")
    headers = {"X-Fetch-Status": found.status.value}
    if found.content is None or found.digest is None:
        return Response(status_code=204, headers=headers)
    headers |= {"X-Content-Digest": found.digest, "X-Content-Size-Bytes": str(found.content.size_bytes)}
    return Response(found.content.body, media_type="application/zstd", headers=headers)


@router.delete("/{fetch_id}", response_model=FetchView)
async def delete_fetch(
    fetch_id: UUID, access: Annotated[Access, Depends(get_access)], tenant: Asking = None
) -> FetchView | JSONResponse:
    """Cancel a pending fetch; again changes nothing. 404 when the ledger does not have it, 409 when it ended otherwise."""
    finished = await in_transaction(
        access.pool, lambda c: cancel_fetch(c, fetch_id, source=access.source, now=None, tenant=tenant)
    )
    if finished.statuses:
        note_finished(access.metrics, finished)
        access.wake_relay()
        access.wake_dispatcher()
    view = await read_fetch(access.pool, fetch_id, has_fetcher=access.has_fetcher(), pace=access.pace, tenant=tenant)
    if view is None:
        raise HTTPException(404, "unknown fetch")
    if view.status is not FetchStatus.CANCELLED:
        return JSONResponse(view.model_dump(mode="json"), status_code=409)
    return view
