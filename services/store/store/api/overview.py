"""Internal: the deployment at a glance, of all tenants, for a gateway's status page. Read only."""

from typing import Annotated

from common.contracts.overview import Overview
from fastapi import APIRouter, Depends

from store.api.access import Access, get_access
from store.traffic import read_overview

router = APIRouter(prefix="/internal/v1/overview")


@router.get("")
async def get_overview(access: Annotated[Access, Depends(get_access)]) -> Overview:
    """Queue, workers, the last hour, the busiest hosts and the last failures: at a bounded cost, however much there is."""
    return await read_overview(access.pool, access.pace, access.fleet())
