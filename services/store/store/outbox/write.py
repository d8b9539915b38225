"""Queue events for the relay, in the transaction of the change they tell of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from common.contracts.envelope import Envelope

from store.database import Connection
from store.queries import query

INSERT = query("outbox_insert")


async def write_events(connection: Connection, events: Sequence[tuple[Envelope[Any], str]], *, now: datetime | None) -> None:
    """Add events, each with the tenant whose it is, to the outbox; they leave only if the caller's transaction commits."""
    if events:
        texts = [event.model_dump_json(exclude_none=True) for event, _ in events]
        await connection.execute(INSERT, texts, [tenant for _, tenant in events], now)
