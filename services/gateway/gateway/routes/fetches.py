"""Fetches: promise one, read one, cancel one."""

import asyncio
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.keys import Scope
from common.contracts.views import FetchView
from common.ids import new_fetch_id
from common.urls import UrlRefusal, read_url
from fastapi import APIRouter, Request, Response

from gateway.dependencies import Means, UseKeyedRequest, UseMeans, UsePrincipal, UseReadAt, requires
from gateway.errors import EventsUnavailable, StoreUnavailable
from gateway.http.answers import answer
from gateway.http.parameters import FetchId
from gateway.http.preferences import UsePreferences
from gateway.lookups import find_fetch, queued_view
from gateway.models import FetchDocument, FetchSubmission, time_faults
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType
from gateway.promise import promise, recall
from gateway.promises.acceptance import Acceptance
from gateway.waits import Wait, waiting_for

CANCEL_WAIT_SECONDS = 2.0
"""How long a cancellation waits at most for a promise to reach the ledger; never longer than a call to the store may take."""
CANCEL_LOOK_SECONDS = 0.05

router = APIRouter(prefix="/v1/fetches", tags=["fetches"])


@router.post(
    "",
    status_code=202,
    operation_id="submitFetch",
    response_model=FetchDocument,
    responses=response(
        202, "The fetch is promised.", ResponseHeader.LOCATION, ResponseHeader.RETRY_AFTER, ResponseHeader.PREFERENCE_APPLIED
    )
    | response(
        200,
        "With `Prefer: wait`: the fetch, which has finished.",
        ResponseHeader.CONTENT_LOCATION,
        ResponseHeader.PREFERENCE_APPLIED,
    )
    | problem_responses(ProblemType.EVENTS_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_WRITE)],
)
async def submit_fetch(
    submission: FetchSubmission,
    request: Request,
    preferences: UsePreferences,
    means: UseMeans,
    principal: UsePrincipal,
    keyed: UseKeyedRequest,
    read_at: UseReadAt,
) -> Response:
    """Accept one fetch. The answer comes once the promise is on disk; `Location` is where the fetch can be read.

    With an `Idempotency-Key` the same request is accepted once, however often it is sent. With `Prefer: wait=N` the answer is the
    finished fetch, 200, if it finishes within N seconds.
    """
    now = means.clock()
    fetch = _fetch(submission, principal, now=now)
    with waiting_for(fetch.id, preferences=preferences, request=request, means=means, principal=principal) as wait:
        if faults := time_faults(submission, now=now):
            # What was promised while these times were still ahead stays promised.
            acceptance = await recall(keyed, means) if keyed else None
            if acceptance is None:
                raise Problem.of_members(faults)
        else:
            acceptance = await promise(
                [fetch], means, principal, idempotency=keyed, hold_seconds=wait.seconds, read_at=read_at
            )
        if acceptance.is_replay:
            return await _again(fetch, acceptance, wait)
        finished = await wait.finished()
    if keyed is not None and wait.seconds:
        with suppress(EventsUnavailable):  # the hold ends by itself, and then a replay is the answer 202
            await means.idempotency.settle(keyed, acceptance.first, status=202 if finished is None else 200)
    return _promised(fetch, wait) if finished is None else _finished(finished, wait)


async def _again(fetch: AcceptedFetch, acceptance: Acceptance, wait: Wait) -> Response:
    """The answer of the first try: made from the request and what was promised, or read again, since an end never changes."""
    if acceptance.status == 200:
        response = _finished(await find_fetch(acceptance.first.id, wait.means, wait.principal), wait)
    else:
        first = {"id": acceptance.first.id, "accepted_at": acceptance.first.at}
        response = _promised(fetch.model_copy(update=first), wait)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _promised(fetch: AcceptedFetch, wait: Wait) -> Response:
    headers = {"Location": f"/v1/fetches/{fetch.id}", "Retry-After": "1"} | wait.heeded(is_finished=False)
    return answer(FetchDocument.of(queued_view(fetch)), status=202, headers=headers)


def _finished(view: FetchView, wait: Wait) -> Response:
    headers = {"Content-Location": f"/v1/fetches/{view.id}"} | wait.heeded(is_finished=True)
    return answer(FetchDocument.of(view), headers=headers)


@router.get(
    "/{fetch_id}",
    operation_id="getFetch",
    response_model=FetchDocument,
    responses=response(200, "The fetch as it is now.", ResponseHeader.PREFERENCE_APPLIED)
    | problem_responses(ProblemType.STORE_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_READ)],
)
async def get_fetch(
    fetch_id: FetchId, request: Request, preferences: UsePreferences, means: UseMeans, principal: UsePrincipal
) -> Response:
    """One fetch: where it is, and once it is finished what came of it. `Prefer: wait=N` waits for that."""
    with waiting_for(fetch_id, preferences=preferences, request=request, means=means, principal=principal) as wait:
        view = await find_fetch(fetch_id, means, principal)
        if not view.status.is_terminal:
            view = await wait.finished() or view
    heeded = wait.heeded(is_finished=view.status.is_terminal)
    return answer(FetchDocument.of(view), headers={"Cache-Control": "no-cache", "Vary": "Prefer"} | heeded)


@router.delete(
    "/{fetch_id}",
    operation_id="cancelFetch",
    response_model=FetchDocument,
    responses=response(200, "The fetch is cancelled.")
    | problem_responses(ProblemType.ALREADY_FINISHED, ProblemType.STORE_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_WRITE)],
)
async def cancel_fetch(fetch_id: FetchId, means: UseMeans, principal: UsePrincipal) -> Response:
    """Cancel one fetch, also one that is running: what comes of its attempt is dropped. Repeating it changes nothing.

    409 when the fetch had ended otherwise. The answer 200 is the ledger's: nothing starts the fetch any more.
    """
    view = await _cancel(fetch_id, means, principal)
    if view.status is not FetchStatus.CANCELLED:
        raise Problem(ProblemType.ALREADY_FINISHED, f"The fetch is {view.status}; there is nothing left to cancel.")
    return answer(FetchDocument.of(view), headers={"Cache-Control": "no-cache"})


def _fetch(submission: FetchSubmission, principal: Principal, *, now: datetime) -> AcceptedFetch:
    """What is promised; its host is who the fetch must be polite to."""
    target = read_url(submission.url)
    if isinstance(target, UrlRefusal):
        raise Problem(ProblemType.INVALID_REQUEST, target.detail)
    return AcceptedFetch(
        id=new_fetch_id(),
        host=target.host,
        accepted_at=now,
        request=submission,
        tenant=principal.tenant,
        key_id=principal.key_id,
        labels=tuple(submission.labels),
        attrs=submission.attrs,
    )


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
