"""When keys were last used: gateways tell coarsely, and no gateway need hear of it."""

from collections.abc import Sequence

from common.contracts.keys import KeyUse

from store.database import Pool, fetch_rows
from store.queries import query

USED = query("keys_used")


async def note_uses(pool: Pool, uses: Sequence[KeyUse]) -> None:
    """Keep the latest time of each; unknown keys are passed over. Raises DatabaseUnavailable."""
    latest = {use.id: use.at for use in sorted(uses, key=lambda use: use.at)}
    if latest:
        await fetch_rows(pool, USED, list(latest), list(latest.values()))
