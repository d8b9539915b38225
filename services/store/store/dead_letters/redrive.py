"""Put a parked message back into its stream, when what refused it has been mended.

It gets a new entry, and if that is refused again, a new dead letter. What it tells may have been applied already: every reader
of a stream is idempotent, so doing this twice is doing it once.
"""

from datetime import datetime
from typing import Any

from common.contracts.dead_letters import DeadLetterView
from common.streams.names import BODY_FIELD, EVENT_FIELD
from redis.asyncio import Redis
from redis.exceptions import RedisError

from store.database import Connection, Pool, fetch_rows, in_transaction
from store.dead_letters.read import SHOWN_BYTES, view_of
from store.errors import EventsUnavailable
from store.operator_log import log_operation
from store.queries import query

ONE = query("dead_letters_one")
REDRIVEN = query("dead_letters_redriven")
ACTION = "dead_letter.redrive"


async def redrive(pool: Pool, events: Redis, letter_id: int, *, actor: str, now: datetime | None = None) -> DeadLetterView | None:
    """Append the message as it came, then note that and who did it; None when there is no such message.

    Raises EventsUnavailable when nobody knows whether it was appended, and DatabaseUnavailable.
    """
    rows = await fetch_rows(pool, ONE, letter_id)
    if not rows:
        return None
    letter = rows[0]
    fields: dict[Any, Any] = {EVENT_FIELD: letter["event"]}
    if letter["body"] is not None:
        fields[BODY_FIELD] = letter["body"]
    try:
        entry_id = _text(await events.xadd(letter["stream"], fields))
    except (RedisError, OSError) as error:
        raise EventsUnavailable(f"{type(error).__name__}: {error}"[:200]) from error
    detail = {"stream": letter["stream"], "entry_id": letter["entry_id"], "new_entry_id": entry_id}

    async def note(connection: Connection) -> DeadLetterView:
        row = await connection.fetchrow(REDRIVEN, letter_id, now, SHOWN_BYTES)
        await log_operation(connection, actor=actor, action=ACTION, subject=str(letter_id), detail=detail, now=now)
        return view_of(row)

    return await in_transaction(pool, note)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
