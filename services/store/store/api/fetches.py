"""Internal: one fetch for the gateway, the view, the stored body as it is stored, and taking it back."""

from typing import Annotated
from uuid import UUID

from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView
from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi.responses import JSONResponse

from store.api.access import Access, get_access
from store.contents.read import read_content
from store.database import in_transaction
from store.fetches.cancel import cancel_fetch
from store.fetches.read import read_fetch
from store.handlers import note_finished

router = APIRouter(prefix="/internal/v1/fetches")


@router.get("/{fetch_id}")
async def get_fetch(
    fetch_id: UUID, access: Annotated[Access, Depends(get_access)], knows_hosts: bool = False
) -> FetchView:
    """The fetch, or 404 when the ledger does not have it (yet). An earlier gateway cannot read what hosts make wait."""
    view = await read_fetch(
        access.pool,
        fetch_id,
        has_fetcher=access.has_fetcher(),
        pace=access.pace if knows_hosts else None,
    )
    if view is None:
        raise HTTPException(404, "unknown fetch")
    return view


@router.get("/{fetch_id}/content")
async def get_content(fetch_id: UUID, access: Annotated[Access, Depends(get_access)]) -> Response:
    """The body as zstd bytes with its digest and decoded size in headers; 204 when the fetch has none, or none yet."""
    found = await read_content(access.pool, fetch_id)
    if found is None:
        raise HTTPException(404, "unknown fetch")
    headers = {"X-Fetch-Status": found.status.value}
    if found.content is None or found.digest is None:
        return Response(status_code=204, headers=headers)
    headers |= {"X-Content-Digest": found.digest, "X-Content-Size-Bytes": str(found.content.size_bytes)}
    return Response(found.content.body, media_type="application/zstd", headers=headers)


@router.delete("/{fetch_id}", response_model=FetchView)
async def delete_fetch(fetch_id: UUID, access: Annotated[Access, Depends(get_access)]) -> FetchView | JSONResponse:
    """Cancel a pending fetch; again changes nothing. 404 when the ledger does not have it, 409 when it ended otherwise."""
    finished = await in_transaction(access.pool, lambda c: cancel_fetch(c, fetch_id, source=access.source, now=None))
    if finished.statuses:
        note_finished(access.metrics, finished)
        access.wake_relay()
        access.wake_dispatcher()
    view = await read_fetch(access.pool, fetch_id, has_fetcher=access.has_fetcher(), pace=access.pace)
    if view is None:
        raise HTTPException(404, "unknown fetch")
    if view.status is not FetchStatus.CANCELLED:
        return JSONResponse(view.model_dump(mode="json"), status_code=409)
    return view
