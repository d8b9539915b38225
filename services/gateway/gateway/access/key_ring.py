"""All API keys in memory, followed by revision, so that no request waits for the store to know who asks.

Says "there is no such key" only after a reading that began when it was asked: a new key is good at once on every gateway. While
the store is away it goes on from memory, for so long; where nobody knows, it says that.
"""

import asyncio
from datetime import datetime

import structlog
from common.chassis.lifecycle import rest_unless
from common.clock import Clock
from common.contracts.keys import CHANGES_LIMIT, KeyRecord

from gateway.access.key_verdicts import judge_key
from gateway.errors import StoreUnavailable
from gateway.metrics import Gate, GatewayMetrics
from gateway.principal import Principal
from gateway.store_client import StoreClient

REST_SECONDS = 0.2
"""From one reading to the next at least, however many unknown keys come: all that wait share the next one."""

log = structlog.get_logger()


class KeyRing:
    """Knows keys. `run` is its one loop; `find` may be called by any number of tasks, of which `lookups_limit` may wait."""

    def __init__(
        self,
        store: StoreClient,
        *,
        clock: Clock,
        poll_seconds: float,
        stale_limit_seconds: float,
        lookups_limit: int,
        metrics: GatewayMetrics,
    ) -> None:
        self._store = store
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._stale_limit_seconds = stale_limit_seconds
        self._lookups_limit = lookups_limit
        self._metrics = metrics
        self._keys: dict[str, KeyRecord] = {}
        self._revision = 0
        self._as_of: datetime | None = None
        self._lookups = 0
        self._is_wanted = asyncio.Event()
        self._next_reading = asyncio.get_running_loop().create_future()
        metrics.keys_known.set_function(lambda: len(self._keys))
        metrics.keys_age_seconds.set_function(lambda: self.age_seconds)

    @property
    def age_seconds(self) -> float:
        """How old is what is known; infinite before everything was read once."""
        return float("inf") if self._as_of is None else (self._clock() - self._as_of).total_seconds()

    async def find(self, key_id: str) -> KeyRecord | None:
        """The key of that id, also a revoked one, or None when there is none. Raises StoreUnavailable when nobody knows."""
        if key_id not in self._keys or self.age_seconds > self._stale_limit_seconds:
            await self._look()
        return self._keys.get(key_id)

    def is_good(self, principal: Principal, *, now: datetime) -> bool:
        """Whether a caller who was let in still would be, with all its scopes, as far as is known here.

        The deployment's first key always is.
        """
        if principal.key_id is None:
            return True
        judged = judge_key(self._keys.get(principal.key_id), principal.digest, now=now)
        return isinstance(judged, Principal) and principal.scopes <= judged.scopes

    def take(self, record: KeyRecord) -> None:
        """What was changed through this gateway is in force here at once."""
        known = self._keys.get(record.id)
        if known is None or known.revision < record.revision:
            self._keys[record.id] = record

    async def run(self) -> None:
        """Follow the store until cancelled: every few seconds, and at once when an unknown key comes."""
        while True:
            reading, self._next_reading = self._next_reading, asyncio.get_running_loop().create_future()
            self._is_wanted.clear()
            try:
                await self._read()
            except Exception as error:
                self._metrics.note_key_failure("key_ring")
                log.warning("keys not read", error=type(error).__name__, reason=str(error)[:300])
                reading.set_result(False)
            else:
                reading.set_result(True)
            await asyncio.sleep(REST_SECONDS)
            await rest_unless(self._is_wanted, self._poll_seconds - REST_SECONDS)

    async def _look(self) -> None:
        """Wait for a reading that begins from now on. Raises StoreUnavailable when it fails, and when too many wait."""
        is_full = self._lookups >= self._lookups_limit
        self._metrics.note_gate(Gate.KEY_LOOKUPS, is_closed=is_full)
        if is_full:
            raise StoreUnavailable("too many unknown keys are being looked for")
        self._lookups += 1
        self._is_wanted.set()
        try:
            async with asyncio.timeout(self._store.timeout_seconds):
                is_read = await asyncio.shield(self._next_reading)
        except TimeoutError as error:
            raise StoreUnavailable("the store did not tell of its keys in time") from error
        finally:
            self._lookups -= 1
        if not is_read:
            raise StoreUnavailable("the store did not tell of its keys")

    async def _read(self) -> None:
        """Read all changes since the last reading. Raises StoreUnavailable; what was read until then is known."""
        while True:
            as_of = self._clock()
            changes = await self._store.read_key_changes(after_revision=self._revision, limit=CHANGES_LIMIT)
            if changes.latest_revision < self._revision:  # a backup was restored: what came after it is no more
                log.warning("keys went back", known_revision=self._revision, latest_revision=changes.latest_revision)
                self._keys, self._revision, self._as_of = {}, 0, None
                continue
            for record in changes.keys:
                self.take(record)
            self._revision = max([self._revision, *(record.revision for record in changes.keys)])
            if self._revision >= changes.latest_revision:
                self._as_of = as_of
                return
            if not changes.keys:
                raise StoreUnavailable("the store tells of later changes and does not show them")
