"""Retry of a fetch by its caller: a new fetch with the same request. Attempts of one fetch are not decided here."""

from datetime import datetime, timedelta

from common.contracts.fetches import AcceptedFetch, FetchRequest
from common.contracts.keys import Scope
from fastapi import APIRouter, Response

from gateway.dependencies import UseKeyedRequest, UseMeans, UsePrincipal, UseReadAt, UseReserved, requires
from gateway.http.answers import answer
from gateway.http.parameters import FetchId
from gateway.lookups import find_fetch, queued_view
from gateway.models import FetchDocument
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.problems.answers import Problem, ProblemType
from gateway.promise import promise

router = APIRouter(prefix="/v1/fetches", tags=["fetches"])


@router.post(
    "/{fetch_id}/retry",
    status_code=202,
    operation_id="retryFetch",
    response_model=FetchDocument,
    responses=response(202, "The new fetch is promised.", ResponseHeader.LOCATION, ResponseHeader.RETRY_AFTER)
    | problem_responses(ProblemType.NOT_FINISHED, ProblemType.STORE_UNAVAILABLE, ProblemType.EVENTS_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_WRITE)],
)
async def retry_fetch(
    fetch_id: FetchId,
    means: UseMeans,
    principal: UsePrincipal,
    reserved: UseReserved,
    keyed: UseKeyedRequest,
    read_at: UseReadAt,
) -> Response:
    """Accept a new fetch with the request, the labels and the attrs of one that has ended; that one stays as it is.

    Times that have passed are left out, and the new fetch belongs to no batch. 409 while the fetch is pending.
    """
    view = await find_fetch(fetch_id, means, principal)
    if not view.status.is_terminal:
        raise Problem(ProblemType.NOT_FINISHED, f"The fetch is {view.status}; it can be retried when it has ended.")
    ended = await means.store.read_request(fetch_id, tenant=principal.tenant)
    if ended is None:
        raise Problem(ProblemType.NOT_FOUND, "No fetch has this id.")
    fetch = AcceptedFetch(
        id=reserved.id,
        host=ended.host,
        accepted_at=reserved.at,
        request=without_past_times(ended.request, now=reserved.at),
        tenant=principal.tenant,
        key_id=principal.key_id,
        labels=ended.labels,
        attrs=ended.attrs,
    )
    await promise([fetch], means, principal, idempotency=keyed, read_at=read_at)
    headers = {"Location": f"/v1/fetches/{fetch.id}", "Retry-After": "1"}
    return answer(FetchDocument.of(queued_view(fetch)), status=202, headers=headers)


def without_past_times(request: FetchRequest, *, now: datetime) -> FetchRequest:
    """The request without times that make no sense any more: a start that has passed, an end before the earliest start."""
    start = request.not_before if request.not_before and request.not_before > now else None
    earliest = start or now + timedelta(seconds=request.delay_seconds)
    end = request.expires_at if request.expires_at and request.expires_at > earliest else None
    return request.model_copy(update={"not_before": start, "expires_at": end})
