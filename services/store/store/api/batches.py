"""Internal: one batch for the gateway."""

from typing import Annotated
from uuid import UUID

from common.contracts.batches import BatchView
from common.contracts.tenants import Tenant
from fastapi import APIRouter, Depends, HTTPException, Query

from store.api.access import Access, get_access
from store.batches.read import read_batch

router = APIRouter(prefix="/internal/v1/batches")


@router.get("/{batch_id}")
async def get_batch(
    batch_id: UUID, tenant: Annotated[Tenant, Query()], access: Annotated[Access, Depends(get_access)]
) -> BatchView:
    """The batch, or 404 when the ledger does not have it (yet)."""
    view = await read_batch(access.pool, batch_id, tenant=tenant)
    if view is None:
        raise HTTPException(404, "unknown batch")
    return view
