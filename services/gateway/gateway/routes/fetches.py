"""Fetches: promise one, read one, read its content."""

from typing import Annotated
from uuid import UUID

from common.chassis.telemetry import current_traceparent
from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.views import FetchView, Waiting, WaitingReason
from common.ids import new_fetch_id
from common.urls import UrlRefusal, read_url
from fastapi import APIRouter, Header, Response

from gateway.content import content_response
from gateway.dependencies import Means, UseMeans
from gateway.errors import StoreUnavailable
from gateway.models import FetchDocument, FetchSubmission
from gateway.problems import Problem, ProblemType

router = APIRouter(prefix="/v1/fetches", tags=["fetches"])


@router.post("", status_code=202, operation_id="submitFetch", response_model=FetchDocument)
async def submit_fetch(submission: FetchSubmission, means: UseMeans) -> Response:
    """Accept one fetch. The answer comes once the promise is on disk; `Location` is where the fetch can be read."""
    fetch = AcceptedFetch(id=new_fetch_id(), host=_host(submission), accepted_at=means.clock(), request=submission)
    await means.publisher.publish([fetch], traceparent=current_traceparent())
    means.metrics.accepted.inc()
    headers = {"Location": f"/v1/fetches/{fetch.id}", "Retry-After": "1"}
    return _show(_queued(fetch), status=202, headers=headers)


@router.get("/{fetch_id}", operation_id="getFetch", response_model=FetchDocument)
async def get_fetch(fetch_id: UUID, means: UseMeans) -> Response:
    """One fetch: where it is, and once it is finished what came of it."""
    return _show(await _find(fetch_id, means), status=200, headers={"Cache-Control": "no-cache"})


@router.get("/{fetch_id}/content", operation_id="getFetchContent", response_class=Response)
async def get_content(fetch_id: UUID, means: UseMeans, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The stored bytes, as the origin meant them, never rendered by a browser on our origin."""
    stored = await means.store.read_content(fetch_id)
    if stored is None:
        stored_view = await _find(fetch_id, means)
        raise _without_content(stored_view.status)
    if stored.status is not FetchStatus.SUCCEEDED:
        raise _without_content(stored.status)
    return content_response(fetch_id, stored, if_none_match=if_none_match)


def _host(submission: FetchSubmission) -> str:
    """Who the fetch must be polite to."""
    target = read_url(submission.url)
    if isinstance(target, UrlRefusal):
        raise Problem(ProblemType.INVALID_REQUEST, target.detail)
    return target.host


async def _find(fetch_id: UUID, means: Means) -> FetchView:
    """The fetch from the ledger, or from the promises that have not reached it yet (P6).

    A promise leaves Redis only after it is in the ledger, so one that is in neither at first is in the ledger by now.
    """
    try:
        view = await means.store.read_fetch(fetch_id)
    except StoreUnavailable:
        promised = await means.publisher.find(fetch_id)
        if promised is None:
            raise
        return _queued(promised)
    if view is not None:
        return view
    promised = await means.publisher.find(fetch_id)
    if promised is not None:
        return _queued(promised)
    view = await means.store.read_fetch(fetch_id)
    if view is None:
        raise Problem(ProblemType.NOT_FOUND, "No fetch has this id.")
    return view


def _show(view: FetchView, *, status: int, headers: dict[str, str]) -> Response:
    """The document as bytes: it is built from validated parts, and the framework would validate it twice more."""
    body = FetchDocument.of(view).model_dump_json(by_alias=True)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _queued(fetch: AcceptedFetch) -> FetchView:
    return FetchView(
        id=fetch.id,
        url=fetch.request.url,
        method=fetch.request.method,
        at_most_once=not fetch.request.is_idempotent,
        status=FetchStatus.QUEUED,
        created_at=fetch.accepted_at,
        waiting=Waiting(reason=WaitingReason.QUEUE),
    )


def _without_content(status: FetchStatus) -> Problem:
    if not status.is_terminal:
        return Problem(ProblemType.NOT_FINISHED, f"The fetch is {status}; its content comes when it has succeeded.")
    return Problem(ProblemType.NO_CONTENT, f"The fetch is {status}; there is no response to show.")
