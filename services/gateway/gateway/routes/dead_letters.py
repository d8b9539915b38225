"""Dead letters: messages that could not be applied, and putting them back.

Operator routes: they show the raw text of messages of all tenants, with what those fetched and sent, so they need the scope
`admin`.
"""

from typing import Annotated

from common.contracts.keys import Scope
from fastapi import APIRouter, Path, Query, Response

from gateway.dependencies import UseMeans, UsePrincipal, requires
from gateway.http.answers import answer
from gateway.http.cursors import LIMIT_DEFAULT, LIMIT_MAX, next_link, read_cursor, write_cursor
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.operator_models import DeadLetterDocument, DeadLetterPageDocument
from gateway.problems.answers import Problem, ProblemType

PATH = "/v1/dead-letters"
LIST = "dead-letters"
ID_LIMIT = 2**63 - 1
NOT_STORED = {"Cache-Control": "no-store"}

router = APIRouter(prefix=PATH, tags=["dead letters"], dependencies=[requires(Scope.ADMIN)])


@router.get(
    "",
    operation_id="listDeadLetters",
    response_model=DeadLetterPageDocument,
    responses=response(200, "One page of dead letters.", ResponseHeader.LINK)
    | problem_responses(ProblemType.CURSOR_MISMATCH, ProblemType.STORE_UNAVAILABLE),
)
async def list_dead_letters(
    means: UseMeans,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Dead letters on a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Response:
    """Parked messages, the newest first, with the beginning of their text, which may be another caller's."""
    page = await means.store.list_dead_letters(limit=limit, after=read_cursor(cursor, of=LIST))
    following = write_cursor(page.next_cursor, of=LIST) if page.next_cursor is not None else None
    headers = NOT_STORED | ({"Link": next_link(PATH, cursor=following, limit=limit)} if following else {})
    items = [DeadLetterDocument.of(view) for view in page.items]
    return answer(DeadLetterPageDocument(items=items, next_cursor=following), headers=headers)


@router.post(
    "/{dead_letter_id}/redrive",
    operation_id="redriveDeadLetter",
    response_model=DeadLetterDocument,
    responses=response(200, "The message is back in its stream.") | problem_responses(ProblemType.STORE_UNAVAILABLE),
)
async def redrive_dead_letter(
    dead_letter_id: Annotated[int, Path(ge=1, le=ID_LIMIT, description="The dead letter's `id`.")],
    means: UseMeans,
    principal: UsePrincipal,
) -> Response:
    """Put one message back into its stream, where it is read as if it had just arrived.

    503 while the events Redis is away.
    """
    view = await means.store.redrive(dead_letter_id, actor=principal.actor)
    if view is None:
        raise Problem(ProblemType.NOT_FOUND, "No dead letter has this id.")
    return answer(DeadLetterDocument.of(view), headers=NOT_STORED)
