"""Internal: what operators did and which targets were refused, for operators. Read only."""

from typing import Annotated

from common.contracts.audit import OperationPage, RefusalPage
from fastapi import APIRouter, Depends, Query

from store.api.access import Access, get_access
from store.audit_logs import NEWEST, read_operations, read_refusals

ENTRIES_LIMIT = 200
ENTRIES_DEFAULT = 50
UseAccess = Annotated[Access, Depends(get_access)]
Limit = Annotated[int, Query(ge=1, le=ENTRIES_LIMIT)]
After = Annotated[int, Query(ge=0, le=NEWEST)]

router = APIRouter(prefix="/internal/v1/audit")


@router.get("/operations")
async def list_operations(access: UseAccess, limit: Limit = ENTRIES_DEFAULT, after: After = NEWEST) -> OperationPage:
    """What operators did, the newest first, from the one after `after` on."""
    return await read_operations(access.pool, limit=limit, after=after)


@router.get("/refusals")
async def list_refusals(access: UseAccess, limit: Limit = ENTRIES_DEFAULT, after: After = NEWEST) -> RefusalPage:
    """Refused targets, the newest first, from the one after `after` on."""
    return await read_refusals(access.pool, limit=limit, after=after)
