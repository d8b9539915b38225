"""What operators did, written in the transaction that does it. The store's role can neither change nor delete it."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from store.database import Connection
from store.queries import query

INSERT = query("operator_log_insert")


async def log_operation(
    connection: Connection, *, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: datetime | None
) -> None:
    """Note one operation, in the caller's transaction."""
    await connection.execute(INSERT, actor, action, subject, json.dumps(detail), now)
