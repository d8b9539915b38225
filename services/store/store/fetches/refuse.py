"""What becomes of an accepted fetch that the database does not take: it fails, visibly, instead of waiting for ever."""

from collections import Counter
from datetime import UTC, datetime

from common.contracts.fetches import AcceptedFetch, ErrorType, FetchRequest
from common.contracts.hosts import HOST_LIMIT_CHARACTERS

from store.database import Connection
from store.fetches.finish import Finished, error_counts, finished_event
from store.fetches.storable import storable
from store.outbox.write import write_events
from store.queries import query

REFUSE = query("fetches_refuse")
DETAIL = "The request could not be stored, so it was not attempted; it is kept with the operators' dead letters."
UNKNOWN_URL = "about:blank"
FIRST_YEAR, LAST_YEAR = 1970, 9000
"""Another time of acceptance is nobody's clock, and may be what could not be stored."""


async def refuse_fetch(
    connection: Connection, fetch: AcceptedFetch, *, source: str, now: datetime | None
) -> Finished:
    """Enter a fetch as failed, with no more of its request than its URL and method, in the caller's transaction. Idempotent."""
    request = FetchRequest(url=storable(fetch.request.url) or UNKNOWN_URL, method=fetch.request.method)
    accepted_at = fetch.accepted_at if FIRST_YEAR <= fetch.accepted_at.replace(tzinfo=UTC).year <= LAST_YEAR else None
    host = (storable(fetch.host) or "")[:HOST_LIMIT_CHARACTERS]
    row = await connection.fetchrow(
        REFUSE,
        fetch.id,
        host,
        request.model_dump_json(),
        None,
        accepted_at,
        ErrorType.INTERNAL.value,
        DETAIL,
        now,
        fetch.tenant,
        fetch.key_id,
        fetch.batch_id,
    )
    if row is None:
        return Finished()
    await write_events(connection, [(finished_event(row, source=source), fetch.tenant)], now=now)
    return Finished(statuses=Counter([row["status"]]), errors=error_counts([row]))
