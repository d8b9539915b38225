"""Firecrawl's v2 API, the part that is made here: scrape one page, scrape several, look, cancel. See docs/firecrawl.md."""

import asyncio
import json
from typing import Annotated, Any
from uuid import UUID

from common.contracts.batches import AcceptedBatch
from common.contracts.fetches import FetchStatus
from common.contracts.keys import Scope
from common.contracts.views import FetchView
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from gateway.dependencies import Means, UseMeans, UsePrincipal, UseReadAt, UseReserved, requires
from gateway.errors import StoreUnavailable
from gateway.firecrawl.answers import (
    BatchScrapeAnswer,
    BatchScrapeReceipt,
    CancellationAnswer,
    ScrapeAnswer,
    scrape_responses,
)
from gateway.firecrawl.batches import expires_at, fetches_of, read_documents, status_of
from gateway.firecrawl.documents import NoText, document
from gateway.firecrawl.refusals import NO_TEXT, failure, timed_out
from gateway.firecrawl.submissions import BatchScrapeSubmission, ScrapeSubmission, accepted_fetch, is_valid
from gateway.http.parameters import BatchId
from gateway.lookups import find_batch, find_fetch
from gateway.openapi.firecrawl import FirecrawlRefusal
from gateway.openapi.responses import problem_responses, response
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType
from gateway.promise import promise

LOOK_SECONDS = 5.0
"""How often a scrape looks at its fetch without having been woken."""
LOOK_AGAIN_SECONDS = 0.25
"""The same after it was woken, when the fetch is not there yet."""
CANCELLED_TOGETHER = 10
REPEATED_LIMIT_BYTES = 1024 * 1024
"""Headers of all pages of a batch, which is one event, so that it is accepted whole or not at all."""


async def _refuse_idempotency(x_idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None) -> None:
    """Firecrawl's header is not ours: who sends it must not believe that it was heard."""
    if x_idempotency_key is not None:
        raise Problem(ProblemType.INVALID_REQUEST, "x-idempotency-key is not supported here; leave it out.")


WRITES = [requires(Scope.FETCH_WRITE), Depends(_refuse_idempotency)]
READS = [requires(Scope.FETCH_READ), requires(Scope.STORE_READ)]

router = APIRouter(prefix="/v2", tags=["compatibility"])


@router.post(
    "/scrape",
    operation_id="firecrawlScrape",
    response_model=ScrapeAnswer | FirecrawlRefusal,
    responses=scrape_responses(),
    dependencies=[*WRITES, *READS],
)
async def scrape(
    submission: ScrapeSubmission,
    request: Request,
    means: UseMeans,
    principal: UsePrincipal,
    reserved: UseReserved,
    read_at: UseReadAt,
) -> Response:
    """Fetch one page and wait for it, as long as `timeout` says and a minute at most."""
    fetch = accepted_fetch(submission.url, submission, id=reserved.id, principal=principal, now=reserved.at)
    with means.waits.place(request, principal), means.feed.finishes.expect(fetch.id) as finish:
        await promise([fetch], means, principal, read_at=read_at)
        view = await wait_finished(fetch.id, finish, means, principal, seconds=submission.timeout_seconds)
    if not view.status.is_terminal:
        return await _json(*timed_out(view, seconds=submission.timeout_seconds))
    if view.response is None:
        return await _json(*failure(view))
    stored = await means.store.read_content(fetch.id, tenant=principal.tenant)
    if stored is None:
        raise StoreUnavailable("a fetch has succeeded and is not there")
    try:
        made = await asyncio.to_thread(document, view, view.response, stored)
    except NoText as error:
        status, code = NO_TEXT
        return await _json(status, {"success": False, "code": code, "error": str(error)})
    return await _json(200, {"success": True, "data": made})


@router.post(
    "/batch/scrape",
    operation_id="firecrawlBatchScrape",
    response_model=BatchScrapeReceipt,
    responses=response(200, "The pages will be fetched."),
    dependencies=WRITES,
)
async def scrape_batch(
    submission: BatchScrapeSubmission,
    request: Request,
    means: UseMeans,
    principal: UsePrincipal,
    reserved: UseReserved,
    read_at: UseReadAt,
) -> Response:
    """Accept all pages that can be fetched, as one batch; they are fetched whether or not anyone asks."""
    invalid = [url for url in submission.urls if not is_valid(url)]
    if invalid and not submission.ignore_invalid_urls:
        raise Problem.of_members([("urls", f"{len(invalid)} cannot be fetched; the first is {invalid[0][:200]}.")])
    urls = [url for url in submission.urls if is_valid(url)]
    if not urls:
        raise Problem.of_members([("urls", "None of these can be fetched.")])
    repeated_bytes = len(urls) * len(json.dumps(submission.headers))
    if repeated_bytes > REPEATED_LIMIT_BYTES:
        detail = f"They go with each page: with {len(urls)} pages they come to {repeated_bytes} bytes of {REPEATED_LIMIT_BYTES}."
        raise Problem.of_members([("headers", detail)])
    fetches = [
        accepted_fetch(url, submission, id=reserved.nth(number), principal=principal, now=reserved.at, batch_id=reserved.id)
        for number, url in enumerate(urls, start=1)
    ]
    batch = AcceptedBatch(
        id=reserved.id,
        tenant=principal.tenant,
        key_id=principal.key_id,
        accepted_at=reserved.at,
        accepted=len(fetches),
        rejected=len(invalid),
    )
    await promise(fetches, means, principal, batch=batch, read_at=read_at)
    answered = {"success": True, "id": str(reserved.id), "url": _url(request, reserved.id)}
    return await _json(200, answered | ({"invalidURLs": invalid} if submission.ignore_invalid_urls else {}))


@router.get(
    "/batch/scrape/{batch_id}",
    operation_id="firecrawlGetBatch",
    response_model=BatchScrapeAnswer,
    responses=response(200, "The batch as it is now."),
    dependencies=READS,
)
async def get_batch(
    batch_id: BatchId,
    request: Request,
    means: UseMeans,
    principal: UsePrincipal,
    after: Annotated[UUID | None, Query(description="As `next` has it.")] = None,
) -> Response:
    """How far a batch is, and the documents of the pages that are there; `next` leads to more of them."""
    batch = await find_batch(batch_id, means, principal)
    documents, following = await read_documents(batch_id, means, principal, after=after)
    answered = {
        "success": True,
        "status": status_of(batch),
        "total": batch.total,
        "completed": batch.counts.succeeded,
        "creditsUsed": 0,
        "expiresAt": expires_at(batch_id).isoformat(),
        "next": f"{_url(request, batch_id)}?after={following}" if following else None,
        "data": documents,
    }
    return await _json(200, answered)


@router.delete(
    "/batch/scrape/{batch_id}",
    operation_id="firecrawlCancelBatch",
    response_model=CancellationAnswer,
    responses=response(200, "What was pending is cancelled.") | problem_responses(ProblemType.ALREADY_FINISHED),
    dependencies=[requires(Scope.FETCH_WRITE)],
)
async def cancel_batch(batch_id: BatchId, means: UseMeans, principal: UsePrincipal) -> Response:
    """Cancel what of a batch is pending. 409 when nothing is, 503 while it is on its way into the ledger."""
    batch = await find_batch(batch_id, means, principal)
    if batch.finished:
        raise Problem(ProblemType.ALREADY_FINISHED, "The batch has finished.")
    pending = [
        view.id
        for status in (FetchStatus.QUEUED, FetchStatus.RUNNING)
        async for view in fetches_of(batch_id, means, principal, status=status)
    ]
    if not pending:
        raise StoreUnavailable("the promise has not reached the ledger")
    for start in range(0, len(pending), CANCELLED_TOGETHER):
        together = pending[start:start + CANCELLED_TOGETHER]
        await asyncio.gather(*(means.store.cancel_fetch(id, tenant=principal.tenant) for id in together))
    return await _json(200, {"success": True, "status": "cancelled"})


async def wait_finished(
    fetch_id: UUID, finish: "asyncio.Future[None]", means: Means, principal: Principal, *, seconds: float
) -> FetchView:
    """The caller's fetch once it has ended, or as it is after `seconds`. `finish` wakes it; it also looks now and then."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        view = await find_fetch(fetch_id, means, principal)
        remaining = deadline - loop.time()
        if view.status.is_terminal or remaining <= 0:
            return view
        if finish.done():
            await asyncio.sleep(min(LOOK_AGAIN_SECONDS, remaining))
        else:
            await asyncio.wait({finish}, timeout=min(LOOK_SECONDS, remaining))


def _url(request: Request, batch_id: UUID) -> str:
    return f"{request.base_url}v2/batch/scrape/{batch_id}"


async def _json(status: int, answered: dict[str, Any]) -> Response:
    """The answer. Documents are large: they are written by a thread."""
    body = await asyncio.to_thread(json.dumps, answered, ensure_ascii=False)
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")
