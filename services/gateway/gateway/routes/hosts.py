"""Hosts: the pace in force and who set it, what waits, and what an operator overrides for a while.

Operator routes: they show and change what all tenants share, so they need the scope `admin`.
"""

from typing import Annotated

from common.contracts.hosts import HostOperation, HostState
from common.contracts.keys import Scope
from fastapi import APIRouter, Path, Query, Response

from gateway.dependencies import UseMeans, UsePrincipal, requires
from gateway.http.answers import answer
from gateway.http.cursors import LIMIT_DEFAULT, LIMIT_MAX, next_link, read_cursor, write_cursor
from gateway.http.host_names import canonical_host
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.operator_models import HostChangeSubmission, HostDocument, HostPageDocument
from gateway.problems.answers import Problem, ProblemType

PATH = "/v1/hosts"
MERGE_PATCH = {"application/merge-patch+json": {"schema": {"$ref": "#/components/schemas/HostChangeSubmission"}}}
NOT_STORED = {"Cache-Control": "no-store"}

router = APIRouter(prefix=PATH, tags=["hosts"], dependencies=[requires(Scope.ADMIN)])
HostName = Annotated[str, Path(description="`example.com`, `example.com:8080` or `[2001:db8::1]`, percent-encoded as needed.")]


@router.get(
    "",
    operation_id="listHosts",
    response_model=HostPageDocument,
    responses=response(200, "One page of hosts.", ResponseHeader.LINK)
    | problem_responses(ProblemType.CURSOR_MISMATCH, ProblemType.STORE_UNAVAILABLE),
)
async def list_hosts(
    means: UseMeans,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Hosts on a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, with the same `state`.")] = None,
    state: Annotated[HostState | None, Query(description="Only hosts in this state.")] = None,
) -> Response:
    """Hosts in the order of their names; `Link` leads to the next page (RFC 8288), as `next_cursor` does."""
    of = f"hosts?state={state or ''}"
    page = await means.store.list_hosts(limit=limit, after=read_cursor(cursor, of=of), state=state)
    following = write_cursor(page.next_cursor, of=of) if page.next_cursor is not None else None
    link = {"Link": next_link(PATH, cursor=following, limit=limit, filters={"state": state})} if following else {}
    document = HostPageDocument(items=[HostDocument.of(view) for view in page.items], next_cursor=following)
    return answer(document, headers=NOT_STORED | link)


@router.get(
    "/{host}",
    operation_id="getHost",
    response_model=HostDocument,
    responses=response(200, "The host as it is now.") | problem_responses(ProblemType.STORE_UNAVAILABLE),
)
async def get_host(host: HostName, means: UseMeans) -> Response:
    """One host: the pace in force, the rule that set it, its backlog and its latest attempts. 404 until it was asked for."""
    view = await means.store.read_host(_canonical(host))
    if view is None:
        raise Problem(ProblemType.NOT_FOUND, "Nobody has asked for this host yet.")
    return answer(HostDocument.of(view), headers=NOT_STORED)


@router.patch(
    "/{host}",
    operation_id="changeHost",
    response_model=HostDocument,
    responses=response(200, "The host with its overrides.") | problem_responses(ProblemType.STORE_UNAVAILABLE),
    openapi_extra={"requestBody": {"content": MERGE_PATCH}},
)
async def change_host(host: HostName, change: HostChangeSubmission, means: UseMeans, principal: UsePrincipal) -> Response:
    """Pause, ban, slow down or resume a host, also before its first fetch; the override ends by itself.

    A merge patch (RFC 7396): members that are absent stay as they are, `null` takes an override back.
    """
    view = await means.store.change_host(_canonical(host), HostOperation(actor=principal.actor, change=change))
    return answer(HostDocument.of(view), headers=NOT_STORED)


def _canonical(given: str) -> str:
    """The host as fetches have it, or the problem that it is none."""
    try:
        return canonical_host(given)
    except ValueError as error:
        raise Problem(ProblemType.NOT_FOUND, str(error)) from error
