"""Enter batches into the ledger once their submission has ended."""

import json
from collections.abc import Sequence

from common.contracts.batches import AcceptedBatch

from store.database import Connection
from store.fetches.storable import storable_json
from store.queries import query

KEEP = query("batches_keep")


async def keep_batches(connection: Connection, batches: Sequence[AcceptedBatch]) -> None:
    """Keep each batch, in the caller's transaction; one that is here whole stays as it is. Idempotent."""
    if not batches:
        return
    last = {batch.id: batch for batch in batches}
    rows = [last[identifier] for identifier in sorted(last)]  # one order for all, so that two stores cannot deadlock
    await connection.execute(
        KEEP,
        [batch.id for batch in rows],
        [batch.tenant for batch in rows],
        [batch.key_id for batch in rows],
        [batch.accepted_at for batch in rows],
        [batch.accepted for batch in rows],
        [batch.rejected for batch in rows],
        [storable_json(json.dumps([error.model_dump(mode="json") for error in batch.errors])) for batch in rows],
        [batch.is_whole for batch in rows],
    )
