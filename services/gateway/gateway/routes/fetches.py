"""Fetches: promise one, read one, cancel one."""

import asyncio
from uuid import UUID

from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.keys import Scope
from common.contracts.views import FetchView, Waiting, WaitingReason
from common.ids import new_fetch_id
from common.urls import UrlRefusal, read_url
from fastapi import APIRouter, Response

from gateway.answers import answer
from gateway.dependencies import Means, UseMeans, UsePrincipal, requires
from gateway.errors import EventsUnavailable, StoreUnavailable
from gateway.models import FetchDocument, FetchSubmission, time_faults
from gateway.principal import Principal
from gateway.problems import Problem, ProblemType
from gateway.promise import promise

CANCEL_WAIT_SECONDS = 2.0
"""How long a cancellation waits at most for a promise to reach the ledger; never longer than a call to the store may take."""
CANCEL_LOOK_SECONDS = 0.05

router = APIRouter(prefix="/v1/fetches", tags=["fetches"])


@router.post(
    "", status_code=202, operation_id="submitFetch", response_model=FetchDocument, dependencies=[requires(Scope.FETCH_WRITE)]
)
async def submit_fetch(submission: FetchSubmission, means: UseMeans, principal: UsePrincipal) -> Response:
    """Accept one fetch. The answer comes once the promise is on disk; `Location` is where the fetch can be read."""
    now = means.clock()
    if faults := time_faults(submission, now=now):
        raise Problem.of_members(faults)
    fetch = AcceptedFetch(
        id=new_fetch_id(),
        host=_host(submission),
        accepted_at=now,
        request=submission,
        tenant=principal.tenant,
        key_id=principal.key_id,
        labels=tuple(submission.labels),
        attrs=submission.attrs,
    )
    await promise([fetch], means)
    headers = {"Location": f"/v1/fetches/{fetch.id}", "Retry-After": "1"}
    return answer(FetchDocument.of(queued_view(fetch)), status=202, headers=headers)


@router.get("/{fetch_id}", operation_id="getFetch", response_model=FetchDocument, dependencies=[requires(Scope.FETCH_READ)])
async def get_fetch(fetch_id: UUID, means: UseMeans, principal: UsePrincipal) -> Response:
    """One fetch: where it is, and once it is finished what came of it."""
    return answer(FetchDocument.of(await find_fetch(fetch_id, means, principal)), headers={"Cache-Control": "no-cache"})


@router.delete(
    "/{fetch_id}", operation_id="cancelFetch", response_model=FetchDocument, dependencies=[requires(Scope.FETCH_WRITE)]
)
async def cancel_fetch(fetch_id: UUID, means: UseMeans, principal: UsePrincipal) -> Response:
    """Cancel one fetch, also one that is running: what comes of its attempt is dropped. Repeating it changes nothing.

    409 when the fetch had ended otherwise. The answer 200 is the ledger's: nothing starts the fetch any more.
    """
    view = await _cancel(fetch_id, means, principal)
    if view.status is not FetchStatus.CANCELLED:
        raise Problem(ProblemType.ALREADY_FINISHED, f"The fetch is {view.status}; there is nothing left to cancel.")
    return answer(FetchDocument.of(view), headers={"Cache-Control": "no-cache"})


def _host(submission: FetchSubmission) -> str:
    """Who the fetch must be polite to."""
    target = read_url(submission.url)
    if isinstance(target, UrlRefusal):
        raise Problem(ProblemType.INVALID_REQUEST, target.detail)
    return target.host


async def find_fetch(fetch_id: UUID, means: Means, principal: Principal) -> FetchView:
    """The caller's fetch from the ledger, or from the promises that have not reached it yet (P6).

    A promise leaves Redis only after it is in the ledger, so one that is in neither at first is in the ledger by now.
    """
    try:
        view = await means.store.read_fetch(fetch_id, tenant=principal.tenant)
    except StoreUnavailable:
        promised = await means.publisher.find(fetch_id, tenant=principal.tenant)
        if promised is None:
            raise
        return queued_view(promised)
    if view is not None:
        return view
    promised = await means.publisher.find(fetch_id, tenant=principal.tenant)
    if promised is not None:
        return queued_view(promised)
    view = await means.store.read_fetch(fetch_id, tenant=principal.tenant)
    if view is None:
        raise Problem(ProblemType.NOT_FOUND, "No fetch has this id.")
    return view


async def _cancel(fetch_id: UUID, means: Means, principal: Principal) -> FetchView:
    """The caller's fetch as it ended. A promise on its way into the ledger is waited for: only there can it be cancelled."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(CANCEL_WAIT_SECONDS, means.store.timeout_seconds)
    was_promised = True
    while True:
        view = await means.store.cancel_fetch(fetch_id, tenant=principal.tenant)
        if view is not None:
            return view
        if not was_promised:
            raise Problem(ProblemType.NOT_FOUND, "No fetch has this id.")
        if loop.time() >= deadline:
            raise StoreUnavailable("the promise has not reached the ledger in time")
        was_promised = await _is_promised(fetch_id, means, principal)
        if was_promised:
            await asyncio.sleep(CANCEL_LOOK_SECONDS)
        # A promise leaves Redis only after it is in the ledger: one that is in neither is looked for there once more.


async def _is_promised(fetch_id: UUID, means: Means, principal: Principal) -> bool:
    """Whether the fetch is on its way into the ledger; True when nobody can tell, so that no promise is denied."""
    try:
        return await means.publisher.find(fetch_id, tenant=principal.tenant) is not None
    except EventsUnavailable:
        return True


def queued_view(fetch: AcceptedFetch) -> FetchView:
    """A promise as a reader sees it before it is in the ledger."""
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
        batch_id=fetch.batch_id,
        labels=list(fetch.labels),
        attrs=fetch.attrs,
    )
