"""When keys were last used, told to the store once a minute: for operators who look for keys that nobody needs."""

from datetime import datetime
from itertools import islice

from common.clock import Clock
from common.contracts.keys import USES_LIMIT, KeyUse, KeyUses

from gateway.store_client import StoreClient

REPORT_SECONDS = 60.0


class KeyUseReporter:
    """Remembers the last use of each known key since the last report. What cannot be reported is kept for the next."""

    name = "key_use"

    def __init__(self, store: StoreClient, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._used: dict[str, datetime] = {}

    def note(self, key_id: str) -> None:
        """A known key was used just now."""
        self._used[key_id] = self._clock()

    async def run_once(self) -> float:
        """Report one page; returns the seconds to rest. Raises StoreUnavailable."""
        await self.report()
        return 0 if len(self._used) >= USES_LIMIT else REPORT_SECONDS

    async def report(self) -> None:
        """Tell the store of at most so many keys as one message takes. Raises StoreUnavailable."""
        uses = [KeyUse(id=key_id, at=at) for key_id, at in islice(self._used.items(), USES_LIMIT)]
        if uses:
            await self._store.report_key_uses(KeyUses(uses=uses))
        for use in uses:
            if self._used[use.id] == use.at:
                del self._used[use.id]
