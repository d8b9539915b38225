"""The audit log: what operators did, and which targets were refused. Append-only: nothing here can be changed.

Operator routes: they show what happened for all tenants, with addresses that nobody else is shown.
"""

from enum import StrEnum
from typing import Annotated

from common.contracts.keys import Scope
from fastapi import APIRouter, Query, Response

from gateway.dependencies import UseMeans, requires
from gateway.http.answers import answer
from gateway.http.cursors import LIMIT_DEFAULT, LIMIT_MAX, next_link, read_cursor, write_cursor
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.operator_models import AuditPageDocument, OperationDocument, RefusalDocument
from gateway.problems.answers import ProblemType

PATH = "/v1/audit"
NOT_STORED = {"Cache-Control": "no-store"}

router = APIRouter(prefix=PATH, tags=["audit"], dependencies=[requires(Scope.ADMIN)])


class AuditKind(StrEnum):
    """Which of the two logs is read."""

    OPERATIONS = "operations"
    REFUSALS = "refusals"


@router.get(
    "",
    operation_id="listAudit",
    response_model=AuditPageDocument,
    responses=response(200, "One page of the log.", ResponseHeader.LINK)
    | problem_responses(ProblemType.CURSOR_MISMATCH, ProblemType.STORE_UNAVAILABLE),
)
async def list_audit(
    means: UseMeans,
    kind: Annotated[AuditKind, Query(description="What operators did, or which targets were refused.")] = AuditKind.OPERATIONS,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Entries on a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, with the same `kind`.")] = None,
) -> Response:
    """Entries of one log, the newest first; `Link` leads to the next page (RFC 8288), as `next_cursor` does."""
    of = f"audit?kind={kind}"
    after = read_cursor(cursor, of=of)
    items: list[OperationDocument | RefusalDocument]
    if kind is AuditKind.OPERATIONS:
        operations = await means.store.list_operations(limit=limit, after=after)
        items, position = [OperationDocument(**dict(view)) for view in operations.items], operations.next_cursor
    else:
        refusals = await means.store.list_refusals(limit=limit, after=after)
        items, position = [RefusalDocument(**dict(view)) for view in refusals.items], refusals.next_cursor
    following = write_cursor(position, of=of) if position is not None else None
    link = {"Link": next_link(PATH, cursor=following, limit=limit, filters={"kind": kind})} if following else {}
    return answer(AuditPageDocument(items=items, next_cursor=following), headers=NOT_STORED | link)
