"""Fetches: promise one, read one, read its content, cancel one."""

import asyncio
from typing import Annotated
from uuid import UUID

from common.chassis.telemetry import current_traceparent
from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.views import FetchView, Waiting, WaitingReason
from common.ids import new_fetch_id
from common.urls import UrlRefusal, read_url
from fastapi import APIRouter, Header, Response

from gateway.answers import answer
from gateway.content import content_response
from gateway.dependencies import Means, UseMeans
from gateway.errors import EventsUnavailable, IngestBacklog, StoreUnavailable
from gateway.metrics import Gate
from gateway.models import FetchDocument, FetchSubmission, time_faults
from gateway.problems import Problem, ProblemType

CANCEL_WAIT_SECONDS = 2.0
"""How long a cancellation waits at most for a promise to reach the ledger; never longer than a call to the store may take."""
CANCEL_LOOK_SECONDS = 0.05

router = APIRouter(prefix="/v1/fetches", tags=["fetches"])


@router.post("", status_code=202, operation_id="submitFetch", response_model=FetchDocument)
async def submit_fetch(submission: FetchSubmission, means: UseMeans) -> Response:
    """Accept one fetch. The answer comes once the promise is on disk; `Location` is where the fetch can be read."""
    now = means.clock()
    if faults := time_faults(submission, now=now):
        raise Problem.of_members(faults)
    fetch = AcceptedFetch(id=new_fetch_id(), host=_host(submission), accepted_at=now, request=submission)
    try:
        await means.publisher.publish([fetch], traceparent=current_traceparent())
    except IngestBacklog:
        means.metrics.note_gate(Gate.INGESTING, is_closed=True)
        raise
    means.metrics.note_gate(Gate.INGESTING, is_closed=False)
    means.metrics.accepted.inc()
    headers = {"Location": f"/v1/fetches/{fetch.id}", "Retry-After": "1"}
    return answer(FetchDocument.of(_queued(fetch)), status=202, headers=headers)


@router.get("/{fetch_id}", operation_id="getFetch", response_model=FetchDocument)
async def get_fetch(fetch_id: UUID, means: UseMeans) -> Response:
    """One fetch: where it is, and once it is finished what came of it."""
    return answer(FetchDocument.of(await _find(fetch_id, means)), headers={"Cache-Control": "no-cache"})


@router.delete("/{fetch_id}", operation_id="cancelFetch", response_model=FetchDocument)
async def cancel_fetch(fetch_id: UUID, means: UseMeans) -> Response:
    """Cancel one fetch, also one that is running: what comes of its attempt is dropped. Repeating it changes nothing.

    409 when the fetch had ended otherwise. The answer 200 is the ledger's: nothing starts the fetch any more.
    """
    view = await _cancel(fetch_id, means)
    if view.status is not FetchStatus.CANCELLED:
        raise Problem(ProblemType.ALREADY_FINISHED, f"The fetch is {view.status}; there is nothing left to cancel.")
    return answer(FetchDocument.of(view), headers={"Cache-Control": "no-cache"})


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


async def _cancel(fetch_id: UUID, means: Means) -> FetchView:
    """The fetch as it ended. A promise on its way into the ledger is waited for: only there can it be cancelled."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(CANCEL_WAIT_SECONDS, means.store.timeout_seconds)
    was_promised = True
    while True:
        view = await means.store.cancel_fetch(fetch_id)
        if view is not None:
            return view
        if not was_promised:
            raise Problem(ProblemType.NOT_FOUND, "No fetch has this id.")
        if loop.time() >= deadline:
            raise StoreUnavailable("the promise has not reached the ledger in time")
        was_promised = await _is_promised(fetch_id, means)
        if was_promised:
            await asyncio.sleep(CANCEL_LOOK_SECONDS)
        # A promise leaves Redis only after it is in the ledger: one that is in neither is looked for there once more.


async def _is_promised(fetch_id: UUID, means: Means) -> bool:
    """Whether the fetch is on its way into the ledger; True when nobody can tell, so that no promise is denied."""
    try:
        return await means.publisher.find(fetch_id) is not None
    except EventsUnavailable:
        return True


def _queued(fetch: AcceptedFetch) -> FetchView:
    return FetchView(
        id=fetch.id,
        url=fetch.request.url,
        method=fetch.request.method,
        at_most_once=not fetch.request.is_idempotent,
        status=FetchStatus.QUEUED,
        priority=fetch.request.priority,
        created_at=fetch.accepted_at,
        expires_at=fetch.request.expires_at,
        waiting=Waiting(reason=WaitingReason.QUEUE),
    )


def _without_content(status: FetchStatus) -> Problem:
    if not status.is_terminal:
        return Problem(ProblemType.NOT_FINISHED, f"The fetch is {status}; its content comes when it has succeeded.")
    return Problem(ProblemType.NO_CONTENT, f"The fetch is {status}; there is no response to show.")
