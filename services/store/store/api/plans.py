"""Internal: what fetches of many hosts would meet, for a gateway that plans."""

from typing import Annotated

from common.contracts.plans import PLAN_ROBOTS_LIMIT_BYTES, PlanAnswer, PlanInquiry
from fastapi import APIRouter, Depends

from store.api.access import Access, get_access
from store.hosts.plan import plan_hosts
from store.robots.keep import read_several

router = APIRouter(prefix="/internal/v1/plan")


@router.post("")
async def plan(inquiry: PlanInquiry, access: Annotated[Access, Depends(get_access)]) -> PlanAnswer:
    """Every host of the inquiry, and the robots.txt files that are here of its origins; `expires_at` may have passed."""
    files, omitted = await read_several(access.pool, inquiry.origins, limit_bytes=PLAN_ROBOTS_LIMIT_BYTES)
    return PlanAnswer(
        hosts=await plan_hosts(access.pool, inquiry.hosts, access.pace), robots=files, robots_omitted=omitted
    )
