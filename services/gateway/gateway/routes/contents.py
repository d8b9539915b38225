"""The content of a fetch: the stored bytes."""

from typing import Annotated

from common.contracts.fetches import FetchStatus
from common.contracts.keys import Scope
from fastapi import APIRouter, Header, Response

from gateway.content import content_response
from gateway.dependencies import UseMeans, UsePrincipal, requires
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.parameters import FetchId
from gateway.problems import Problem, ProblemType
from gateway.routes.fetches import find_fetch

router = APIRouter(prefix="/v1/fetches", tags=["fetches"], dependencies=[requires(Scope.STORE_READ)])


CONTENT_HEADERS = (ResponseHeader.ETAG, ResponseHeader.CONTENT_DISPOSITION)


@router.get(
    "/{fetch_id}/content",
    operation_id="getFetchContent",
    response_class=Response,
    responses=response(200, "The decoded bytes.", *CONTENT_HEADERS, content={"application/octet-stream": {}})
    | response(304, "The caller has these bytes.", ResponseHeader.ETAG)
    | problem_responses(ProblemType.NOT_FINISHED, ProblemType.NO_CONTENT, ProblemType.STORE_UNAVAILABLE),
)
async def get_content(
    fetch_id: FetchId,
    means: UseMeans,
    principal: UsePrincipal,
    if_none_match: Annotated[str | None, Header(description="`ETag` of the bytes that the caller has.")] = None,
) -> Response:
    """The stored bytes, as the origin meant them, never rendered by a browser on our origin."""
    stored = await means.store.read_content(fetch_id, tenant=principal.tenant)
    if stored is None:
        stored_view = await find_fetch(fetch_id, means, principal)
        raise _without_content(stored_view.status)
    if stored.status is not FetchStatus.SUCCEEDED:
        raise _without_content(stored.status)
    return content_response(fetch_id, stored, if_none_match=if_none_match)


def _without_content(status: FetchStatus) -> Problem:
    if not status.is_terminal:
        return Problem(ProblemType.NOT_FINISHED, f"The fetch is {status}; its content comes when it has succeeded.")
    return Problem(ProblemType.NO_CONTENT, f"The fetch is {status}; there is no response to show.")
