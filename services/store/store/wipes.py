"""A wiped events Redis: what was promised and had not entered the ledger is lost. Nobody can say more exactly what that was."""

from datetime import UTC, datetime

import structlog

from store.database import Pool, fetch_rows
from store.metrics import StoreMetrics
from store.queries import query

REACH = query("queue_reach")

log = structlog.get_logger()


async def note_wipe(pool: Pool, stream: str, *, had_group: bool, metrics: StoreMetrics) -> None:
    """Note that a stream is gone, unless it never was there: this process has not seen it, and the ledger never had a fetch.

    Lost is what was accepted after the newest fetch that the ledger has; of several stores another one may have held some
    before it. Raises DatabaseUnavailable, since without the ledger nobody knows whether this is a first start.
    """
    [reach] = await fetch_rows(pool, REACH)
    if not had_group and not reach["accepted"]:
        return
    metrics.wiped_at.labels(stream=stream).set(datetime.now(UTC).timestamp())
    newest_at = reach["newest_at"]
    log.error(
        "stream was wiped",
        stream=stream,
        fetches_in_ledger=reach["accepted"],
        newest_accepted_at=newest_at.isoformat() if newest_at is not None else None,
    )
