"""Take accepted fetches into the ledger and the queue: the first door. Idempotent by fetch id."""

from collections.abc import Sequence
from datetime import datetime

from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchesAccepted

from store.database import Connection
from store.queries import query

ACCEPT = query("fetches_accept")


async def accept(connection: Connection, events: Sequence[Envelope[FetchesAccepted]], *, now: datetime | None) -> int:
    """Insert every fetch not yet known, in the caller's transaction; returns how many were new. `now` None is Postgres's."""
    fetches = {fetch.id: (fetch, event.traceparent) for event in events for fetch in event.data.fetches}
    rows = [fetches[identifier] for identifier in sorted(fetches)]  # one order for all, so that two stores cannot deadlock
    accepted = await connection.fetchval(
        ACCEPT,
        [fetch.id for fetch, _ in rows],
        [fetch.host for fetch, _ in rows],
        [fetch.request.model_dump_json() for fetch, _ in rows],
        [traceparent for _, traceparent in rows],
        [fetch.accepted_at for fetch, _ in rows],
        [fetch.request.timeout_seconds for fetch, _ in rows],
        [fetch.request.delay_seconds for fetch, _ in rows],
        now,
    )
    return int(accepted)
