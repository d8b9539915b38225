"""Events: what happened to the caller's fetches, in order and resumable, as a stream or page by page."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from common.contracts.fetches import Label
from common.contracts.keys import Scope
from common.streams.feed import StreamId
from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from fastapi.security import APIKeyQuery
from fastapi.sse import EventSourceResponse

from gateway.access.tickets import FEED_PATH, PARAMETER
from gateway.dependencies import Means, UseMeans, UsePrincipal, requires
from gateway.feed.entries import Page, Selection
from gateway.feed.models import STREAM_EXAMPLE, STREAM_ITEM, EventPageDocument, TicketDocument
from gateway.feed.stream import EventStream
from gateway.http.answers import answer
from gateway.http.hangups import hangup
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.problems.answers import Problem, ProblemType

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
WAIT_MAX_SECONDS = 30
LOOK_SECONDS = 2.0
"""How long a page is looked for among entries that are not for the caller before the answer says how far that came."""
TICKET = APIKeyQuery(
    name=PARAMETER, scheme_name="ticket", auto_error=False, description="What opens the feed to a browser, instead of a key."
)
"""For the OpenAPI document: who comes with a ticket has been let in before."""
STREAM = EventSourceResponse.media_type
STREAM_CONTENT = {STREAM: {"itemSchema": STREAM_ITEM, "example": STREAM_EXAMPLE}}
HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}

router = APIRouter(prefix=FEED_PATH, tags=["events"])


async def take_place(request: Request, means: UseMeans, principal: UsePrincipal) -> AsyncIterator[None]:
    """A place among the clients of the feed, until the answer has been sent."""
    with means.feed_clients.place(request, principal):
        yield  # noqa: ASYNC119  FastAPI makes a context manager of this


@router.get(
    "",
    operation_id="listEvents",
    response_model=EventPageDocument,
    responses=response(200, "One page, or a stream that goes on until either side ends it.", content=STREAM_CONTENT)
    | problem_responses(ProblemType.CURSOR_MISMATCH, ProblemType.FEED_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_READ), Depends(take_place), Security(TICKET)],
)
async def list_events(
    request: Request,
    means: UseMeans,
    principal: UsePrincipal,
    after: Annotated[
        str | None, Query(description="A cursor: events behind it. `0` is before the oldest; without it, from now on.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Events on a page.")] = LIMIT_DEFAULT,
    wait: Annotated[int, Query(ge=0, le=WAIT_MAX_SECONDS, description="Seconds to wait for the first event of a page.")] = 0,
    label: Annotated[Label | None, Query(description="Only of fetches with this label.")] = None,
    batch_id: Annotated[UUID | None, Query(description="Only of fetches of this batch.")] = None,
    last_event_id: Annotated[str | None, Header(description="The cursor of a stream that was cut off.")] = None,
) -> Response:
    """What happened to the caller's fetches: a stream (server-sent events) with `Accept: text/event-stream`, else one page.

    Every event has a cursor. Whoever comes back with the last one it saw is sent what came behind it, each event once; an
    event that the service had to tell again has the same `id`.
    """
    selection = Selection(tenant=principal.tenant, label=label, batch_id=batch_id)
    is_stream = _accepts_stream(",".join(request.headers.getlist("accept")))
    cursor = _cursor((last_event_id if is_stream else None) or after)
    if is_stream:
        return EventStream(
            means.feed,
            after=means.feed.position if cursor is None else cursor,
            selection=selection,
            is_let_in=lambda: means.is_let_in(principal),
            pace=means.stream_pace,
            metrics=means.metrics,
        )
    if cursor is None:
        return _page_answer(Page(entries=[], cursor=means.feed.position))
    seconds = min(wait, means.wait_limit_seconds)
    return _page_answer(await _find_page(request, means, after=cursor, selection=selection, limit=limit, seconds=seconds))


@router.post(
    "/tickets",
    status_code=201,
    operation_id="makeTicket",
    response_model=TicketDocument,
    responses=response(201, "The ticket.", ResponseHeader.LOCATION) | problem_responses(ProblemType.FEED_UNAVAILABLE),
    dependencies=[requires(Scope.FETCH_READ)],
)
async def make_ticket(means: UseMeans, principal: UsePrincipal) -> Response:
    """A ticket for browsers, whose `EventSource` cannot send a key: it opens the tenant's events, and nothing else.

    Good for any number of connections until it expires; one that is open by then goes on.
    """
    ticket = await means.tickets.make(principal, now=means.clock())
    url = f"{FEED_PATH}?{urlencode({PARAMETER: ticket.secret})}"
    document = TicketDocument(ticket=ticket.secret, url=url, expires_at=ticket.expires_at)
    return answer(document, status=201, headers={"Cache-Control": "no-store", "Location": url})


async def _find_page(
    request: Request, means: Means, *, after: StreamId, selection: Selection, limit: int, seconds: float
) -> Page:
    """The next page that has something, or an empty one with the cursor as far as it was looked for."""
    clock = asyncio.get_running_loop().time
    deadline, look_until = clock() + seconds, clock() + max(seconds, LOOK_SECONDS)
    page = await means.feed.page(after, selection=selection, limit=limit)
    async with hangup(request) as gone:
        while not page.entries and page.gap is None and not gone.done() and not means.feed.is_closing:
            if page.cursor < means.feed.position:
                if clock() >= look_until:
                    break
                cursor = page.cursor
            elif (left := deadline - clock()) > 0:
                cursor = await means.feed.arrival(selection.tenant, after=page.cursor, timeout_seconds=left, gone=gone)
            else:
                break
            page = await means.feed.page(cursor, selection=selection, limit=limit)
            await asyncio.sleep(0)
    return page


def _page_answer(page: Page) -> Response:
    """The page as JSON; its events are sent as they were written."""
    gap = f'"{page.gap}"' if page.gap else "null"
    items = b",".join(entry.event for entry in page.entries)
    body = b'{"items":[%b],"next_cursor":"%b","gap":%b}' % (items, str(page.cursor).encode(), gap.encode())
    return Response(body, media_type="application/json", headers=HEADERS)


def _accepts_stream(accept: str) -> bool:
    """Whether the header names the media type of streams, and not to say that it is unwanted (RFC 9110 section 12.5.1)."""
    for part in accept.lower().split(","):
        media_type, *parameters = (word.strip() for word in part.split(";"))
        if media_type == STREAM:
            return not any(parameter.replace(" ", "").rstrip("0.") == "q=" for parameter in parameters)
    return False


def _cursor(text: str | None) -> StreamId | None:
    if not text:
        return None
    try:
        return StreamId.parse(text)
    except ValueError as error:
        detail = "Give the `id` of an event of a stream, or the `next_cursor` of a page, as it came."
        raise Problem(ProblemType.CURSOR_MISMATCH, detail) from error
