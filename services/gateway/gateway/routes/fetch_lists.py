"""Lists of fetches: the caller's own, the newest first, by status, host, label and batch."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from common.contracts.fetches import FetchStatus, Label
from common.contracts.keys import Scope
from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator

from gateway.dependencies import UseMeans, UsePrincipal, requires
from gateway.http.answers import answer
from gateway.http.cursors import LIMIT_DEFAULT, LIMIT_MAX, next_link, read_id_cursor, write_cursor
from gateway.http.host_names import canonical_host
from gateway.models import FetchPageDocument
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.problems.answers import ProblemType

PATH = "/v1/fetches"

router = APIRouter(prefix=PATH, tags=["fetches"], dependencies=[requires(Scope.FETCH_READ)])
Host = Annotated[str, AfterValidator(canonical_host)]


@router.get(
    "",
    operation_id="listFetches",
    response_model=FetchPageDocument,
    responses=response(200, "A page of fetches.", ResponseHeader.LINK)
    | problem_responses(ProblemType.CURSOR_MISMATCH, ProblemType.STORE_UNAVAILABLE),
)
async def list_fetches(
    means: UseMeans,
    principal: UsePrincipal,
    status: Annotated[FetchStatus | None, Query(description="Only fetches with this status.")] = None,
    host: Annotated[Host | None, Query(description="Only fetches of this host, as `example.com` or `example.com:8080`.")] = None,
    label: Annotated[Label | None, Query(description="Only fetches that carry this label.")] = None,
    batch_id: Annotated[UUID | None, Query(description="Only fetches that came with this batch.")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Fetches on a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, with the same filters.")] = None,
) -> Response:
    """Fetches in the ledger, the newest first; `Link` leads to the next page (RFC 8288), as `next_cursor` does.

    One that was accepted a moment ago may be missing here; under its own path it is found at once.
    """
    filters = {"status": status, "host": host, "label": label, "batch_id": str(batch_id) if batch_id else None}
    given = {name: value for name, value in filters.items() if value is not None}
    of = f"fetches of {principal.tenant}?{urlencode(given)}"
    after = read_id_cursor(cursor, of=of)
    page = await means.store.list_fetches(tenant=principal.tenant, limit=limit, after=after, **filters)
    following = write_cursor(page.next_cursor, of=of) if page.next_cursor is not None else None
    link = {"Link": next_link(PATH, cursor=following, limit=limit, filters=filters)} if following else {}
    return answer(FetchPageDocument.of(page, next_cursor=following), headers={"Cache-Control": "no-cache"} | link)
