"""The content of a fetch: the stored bytes, whole or in part."""

from typing import Annotated

from common.contracts.fetches import FetchStatus
from common.contracts.keys import Scope
from fastapi import APIRouter, Header, Response

from gateway.content import Conditions, content_response
from gateway.dependencies import UseMeans, UsePrincipal, requires
from gateway.http.parameters import FetchId
from gateway.lookups import find_fetch
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.problems.answers import Problem, ProblemType
from gateway.store_client import StoredContent

PATH = "/{fetch_id}/content"

router = APIRouter(prefix="/v1/fetches", tags=["fetches"], dependencies=[requires(Scope.STORE_READ)])
IfNoneMatch = Annotated[str | None, Header(description="Entity tags that the caller has; 304 when one is the content's.")]
IfRange = Annotated[str | None, Header(description="An entity tag: `Range` counts only while it is the content's.")]
Range = Annotated[str | None, Header(description="One range of bytes, such as `bytes=0-1023` or `bytes=-500`.")]


CONTENT_HEADERS = (
    ResponseHeader.ETAG,
    ResponseHeader.CONTENT_DISPOSITION,
    ResponseHeader.ACCEPT_RANGES,
)


@router.get(
    PATH,
    operation_id="getFetchContent",
    response_class=Response,
    responses=response(200, "The decoded bytes.", *CONTENT_HEADERS, content={"application/octet-stream": {}})
    | response(
        206, "The range of them.", *CONTENT_HEADERS, ResponseHeader.CONTENT_RANGE, content={"application/octet-stream": {}}
    )
    | response(304, "The caller has these bytes.", ResponseHeader.ETAG)
    | problem_responses(
        ProblemType.NOT_FINISHED, ProblemType.NO_CONTENT, ProblemType.STORE_UNAVAILABLE, ProblemType.RANGE_NOT_SATISFIABLE
    ),
)
async def get_content(
    fetch_id: FetchId,
    means: UseMeans,
    principal: UsePrincipal,
    if_none_match: IfNoneMatch = None,
    if_range: IfRange = None,
    range: Range = None,
) -> Response:
    """The stored bytes, as the origin meant them, never rendered by a browser on our origin.

    206 with one range of them; several ranges, or one that is malformed, are answered with all of them.
    """
    stored = await means.store.read_content(fetch_id, tenant=principal.tenant)
    if stored is None:
        view = await find_fetch(fetch_id, means, principal)
        raise _without_content(view.status)
    if stored.status is not FetchStatus.SUCCEEDED:
        raise _without_content(stored.status)
    return content_response(fetch_id, stored, Conditions(if_none_match=if_none_match, if_range=if_range, range=range))


@router.head(
    PATH,
    operation_id="describeFetchContent",
    response_class=Response,
    responses=response(200, "There is content.", *CONTENT_HEADERS)
    | response(304, "The caller has these bytes.", ResponseHeader.ETAG)
    | problem_responses(ProblemType.NOT_FINISHED, ProblemType.NO_CONTENT, ProblemType.STORE_UNAVAILABLE),
)
async def describe_content(
    fetch_id: FetchId, means: UseMeans, principal: UsePrincipal, if_none_match: IfNoneMatch = None
) -> Response:
    """Size and entity tag of the content, without reading it. Ranges are for GET alone (RFC 9110 section 14.2)."""
    view = await find_fetch(fetch_id, means, principal)
    if view.status is not FetchStatus.SUCCEEDED or view.response is None:
        raise _without_content(view.status)
    described = StoredContent(status=view.status, digest=view.response.digest, size_bytes=view.response.size_bytes)
    return content_response(fetch_id, described, Conditions(if_none_match=if_none_match))


def _without_content(status: FetchStatus) -> Problem:
    if not status.is_terminal:
        return Problem(ProblemType.NOT_FINISHED, f"The fetch is {status}; its content comes when it has succeeded.")
    return Problem(ProblemType.NO_CONTENT, f"The fetch is {status}; there is no response to show.")
