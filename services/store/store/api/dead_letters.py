"""Internal: messages that could not be applied, for operators."""

from typing import Annotated

from common.contracts.dead_letters import DeadLetterPage, DeadLetterView
from fastapi import APIRouter, Body, Depends, HTTPException, Path, Query

from store.api.access import Access, get_access
from store.dead_letters.read import NEWEST, read_dead_letters
from store.dead_letters.redrive import redrive

LETTERS_LIMIT = 200
LETTERS_DEFAULT = 50
ACTOR_LIMIT_CHARACTERS = 200

router = APIRouter(prefix="/internal/v1/dead-letters")


@router.get("")
async def list_dead_letters(
    access: Annotated[Access, Depends(get_access)],
    limit: Annotated[int, Query(ge=1, le=LETTERS_LIMIT)] = LETTERS_DEFAULT,
    after: Annotated[int | None, Query(ge=0, le=NEWEST)] = None,
) -> DeadLetterPage:
    """Parked messages, the newest first, from the one after `after` on."""
    return await read_dead_letters(access.pool, limit=limit, after=after)


@router.post("/{letter_id}/redrive")
async def redrive_dead_letter(
    letter_id: Annotated[int, Path(ge=0, le=NEWEST)],
    actor: Annotated[str, Body(embed=True, max_length=ACTOR_LIMIT_CHARACTERS)],
    access: Annotated[Access, Depends(get_access)],
) -> DeadLetterView:
    """Put one back into its stream. 404 when there is none of that id, 503 when the stream cannot be reached."""
    view = await redrive(access.pool, access.events, letter_id, actor=actor.replace("\0", ""))
    if view is None:
        raise HTTPException(404, "unknown dead letter")
    return view
