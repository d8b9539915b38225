"""Batches: many fetches in one request, taken in while it arrives, and how far they are."""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from common.contracts.keys import Scope
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from gateway.batch_claims import BatchClaim, replay
from gateway.batch_intake import BatchIntake
from gateway.batches.bodies import BatchBody
from gateway.batches.models import SUBMISSION_CONTENT, BatchDocument, BatchLinks, BatchReceipt
from gateway.batches.splitting import Line
from gateway.dependencies import UseKeyedRequest, UseMeans, UsePrincipal, requires
from gateway.errors import GatewayError
from gateway.http.answers import answer
from gateway.http.parameters import BatchId
from gateway.idempotency.records import Replay
from gateway.lookups import find_batch
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.problems.answers import Problem, ProblemType

PATH = "/v1/batches"

router = APIRouter(prefix=PATH, tags=["batches"])


@router.post(
    "",
    status_code=202,
    operation_id="submitBatch",
    response_model=BatchReceipt,
    responses=response(202, "The accepted lines are promised.", ResponseHeader.LOCATION, ResponseHeader.RETRY_AFTER)
    | problem_responses(
        ProblemType.EVENTS_UNAVAILABLE, ProblemType.BODY_TOO_LARGE, ProblemType.UPLOAD_STALLED, ProblemType.UNSUPPORTED_MEDIA_TYPE
    ),
    openapi_extra={"requestBody": {"required": True, "content": SUBMISSION_CONTENT}},
    dependencies=[requires(Scope.FETCH_WRITE)],
)
async def submit_batch(request: Request, means: UseMeans, principal: UsePrincipal, keyed: UseKeyedRequest) -> Response:
    """Accept many fetches in one request: NDJSON, one fetch object or URL a line, of any length; or `{"items": […]}`.

    A line that is refused is named with its problem and keeps no other from being accepted. The answer comes once all that was
    accepted is on disk. A request that breaks off was promised nothing; what of it had arrived is fetched all the same, and sent
    again under the same `Idempotency-Key` it makes no fetch twice.
    """
    body = BatchBody(request, limits=means.batches.body)
    try:
        with means.batch_uploads.place(request, principal):
            claim = await BatchClaim.begin(keyed, means)
            if isinstance(claim, Replay):
                return await replay(claim, body)
            intake = BatchIntake(claim, principal=principal, means=means, limits=means.batches.intake)
            await _take_in(intake, claim, body)
    except (Problem, GatewayError):
        await body.discard()
        raise
    receipt = _receipt(claim.reserved.id, intake)
    response = answer(receipt, status=202, headers={"Location": receipt.links.self_, "Retry-After": "1"})
    await claim.complete(response, body=body)
    return response


@router.get(
    "/{batch_id}",
    operation_id="getBatch",
    response_model=BatchDocument,
    responses=response(200, "The batch as it is now.") | problem_responses(ProblemType.STORE_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_READ)],
)
async def get_batch(batch_id: BatchId, means: UseMeans, principal: UsePrincipal) -> Response:
    """One batch: how many of its fetches are where, and the first refused lines. Its fetches are listed with `batch_id`."""
    view = await find_batch(batch_id, means, principal)
    return answer(BatchDocument.of(view), headers={"Cache-Control": "no-cache"})


async def _take_in(intake: BatchIntake, claim: BatchClaim, body: BatchBody) -> None:
    """Take every line, or note that the submission ended early and say why and what was accepted until then."""
    try:
        async with claim.held():
            await _take_lines(intake, body.lines())
    except (Problem, GatewayError, ClientDisconnect) as error:
        with suppress(GatewayError):
            await intake.break_off()
        await claim.let_go(has_accepted=intake.may_have_accepted)
        if not intake.accepted or isinstance(error, ClientDisconnect):
            raise
        done = f"{intake.accepted} lines had been accepted and are fetched; they are batch {claim.reserved.id}."
        told = error.after(done=done) if isinstance(error, Problem) else Problem.of_failure(error, done=done)
        raise told from error


async def _take_lines(intake: BatchIntake, lines: AsyncIterator[Line]) -> None:
    async for line in lines:
        await intake.take(line)
    await intake.close()


def _receipt(batch_id: UUID, intake: BatchIntake) -> BatchReceipt:
    return BatchReceipt(
        id=batch_id,
        accepted=intake.accepted,
        rejected=intake.rejected,
        errors=intake.errors,
        errors_omitted=intake.rejected - len(intake.errors),
        links=BatchLinks.of(batch_id),
    )
