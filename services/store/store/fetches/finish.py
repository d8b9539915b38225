"""Bring fetches to their terminal status: ledger, queue, counts and outbox, in the caller's transaction."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import asyncpg
from common.contracts.catalog import FETCH_FINISHED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchFinished

from store.contents.digests import digest_bytes
from store.database import Connection
from store.fetches.lifecycle import Finish
from store.outbox.write import write_events
from store.queries import query

FINISH = query("fetches_finish")


async def finish_fetches(
    connection: Connection, finishes: Sequence[Finish], *, source: str, now: datetime | None
) -> Counter[str]:
    """Finish those that are not terminal yet and queue their feed events; returns how many, by status."""
    if not finishes:
        return Counter()
    responses = [finish.response for finish in finishes]
    errors = [finish.error for finish in finishes]
    rows = await connection.fetch(
        FINISH,
        [finish.id for finish in finishes],
        [finish.status.value for finish in finishes],
        [response.status if response else None for response in responses],
        [json.dumps(response.headers) if response else None for response in responses],
        [response.media_type if response else None for response in responses],
        [response.final_url if response else None for response in responses],
        [digest_bytes(finish.digest) if finish.digest else None for finish in finishes],
        [error.type.value if error else None for error in errors],
        [error.detail if error else None for error in errors],
        now,
    )
    await write_events(connection, [_finished_event(row, source=source) for row in rows], now=now)
    return Counter(row["status"] for row in rows)


def _finished_event(row: asyncpg.Record, *, source: str) -> Envelope[FetchFinished]:
    data = FetchFinished(
        id=row["id"],
        url=row["url"],
        status=row["status"],
        finished_at=row["finished_at"],
        response_status=row["response_status"],
        error_type=row["error_type"],
    )
    return Envelope[FetchFinished].wrap(
        data, type=FETCH_FINISHED, source=source, subject=str(data.id), now=data.finished_at, traceparent=row["traceparent"]
    )
