"""Internal: hosts as operators see them, and what operators change about them."""

from typing import Annotated

from common.contracts.hosts import HOST_LIMIT_CHARACTERS, HostOperation, HostPage, HostState, HostView
from fastapi import APIRouter, Depends, HTTPException, Query

from store.api.access import Access, get_access
from store.database import in_transaction
from store.hosts.operate import operate_host
from store.hosts.view import COUNTED_OF_ONE, read_host, read_hosts, view_hosts

HOSTS_LIMIT = 200
HOSTS_DEFAULT = 50
HostName = Annotated[str, Query(min_length=1, max_length=HOST_LIMIT_CHARACTERS)]

router = APIRouter(prefix="/internal/v1/hosts")


@router.get("")
async def list_hosts(
    access: Annotated[Access, Depends(get_access)],
    limit: Annotated[int, Query(ge=1, le=HOSTS_LIMIT)] = HOSTS_DEFAULT,
    after: Annotated[str, Query(max_length=HOST_LIMIT_CHARACTERS)] = "",
    state: HostState | None = None,
) -> HostPage:
    """Hosts in the order of their names, from the one after `after` on."""
    return await read_hosts(access.pool, access.pace, limit=limit, after=after, state=state)


@router.get("/one")
async def get_host(host: HostName, access: Annotated[Access, Depends(get_access)]) -> HostView:
    """One host, or 404 when nobody ever asked for it, or not for long."""
    view = await read_host(access.pool, host, access.pace)
    if view is None:
        raise HTTPException(404, "unknown host")
    return view


@router.patch("/one")
async def change_host(
    host: HostName, operation: HostOperation, access: Annotated[Access, Depends(get_access)]
) -> HostView:
    """Change what an operator may change about a host, also before anybody asked for it."""
    row = await in_transaction(access.pool, lambda c: operate_host(c, host, operation, access.pace, now=None))
    access.wake_dispatcher()
    views = await view_hosts(access.pool, [row], access.pace, counted_up_to=COUNTED_OF_ONE, now=None)
    return views[0]
