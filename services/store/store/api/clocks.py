"""Internal: what time Postgres has, for fetchers, whose own clocks may be wrong."""

from typing import Annotated

from common.contracts.clocks import LedgerTime
from fastapi import APIRouter, Depends

from store.api.access import Access, get_access
from store.dispatch.claim import postgres_now

router = APIRouter(prefix="/internal/v1/clock")


@router.get("")
async def get_clock(access: Annotated[Access, Depends(get_access)]) -> LedgerTime:
    """Postgres's own time."""
    return LedgerTime(now=await postgres_now(access.pool))
