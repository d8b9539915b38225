"""What time it is for the ledger. Leases end and hosts open by Postgres's clock; this machine's own may be wrong, or jump.

By a clock that is an hour fast every command would be void before it came, and its fetch abandoned in the end. So the time is
asked of the store now and then, and counted on in between by the monotonic clock, which does not jump.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import aiohttp
import structlog
from common.chassis.lifecycle import rest_unless
from common.clock import Clock
from common.contracts.clocks import LedgerTime
from prometheus_client import CollectorRegistry, Gauge
from pydantic import ValidationError

from fetcher.report import StoreAddress

ASK_SECONDS = 2.0
TIMEOUT_SECONDS = 1.0
TOLERANCE = timedelta(milliseconds=250)
"""A smaller error is left as it is: half of the way to the store and back may be as much, and time should not step for that."""

log = structlog.get_logger()


class LedgerClock:
    """A clock that starts with this machine's time and is corrected by the store's. Safe to read from any thread."""

    def __init__(self, *, wall: Clock, now: Callable[[], float], registry: CollectorRegistry) -> None:
        self._wall, self._now = wall, now
        self._anchor = wall(), now()
        self._skew = Gauge(
            "fetchwork_clock_skew_seconds",
            "How far this machine's clock was ahead of Postgres's when last asked.",
            registry=registry,
        )

    def __call__(self) -> datetime:
        """The time by the last correction."""
        return self._at(self._now())

    def correct(self, ledger: LedgerTime, *, asked_at: float, answered_at: float) -> None:
        """Take over what the store said between these moments of the monotonic clock, unless that may be what we had.

        It was said anywhere between them: a difference that a slow answer explains is none.
        """
        middle = (asked_at + answered_at) / 2
        unsure = timedelta(seconds=(answered_at - asked_at) / 2)
        error = self._at(middle) - ledger.now
        self._skew.set((self._wall() - ledger.now).total_seconds() - (self._now() - middle))
        if abs(error) > TOLERANCE + unsure:
            log.warning("clock corrected", ahead_seconds=round(error.total_seconds(), 3))
            self._anchor = ledger.now, middle

    async def keep(self, store: StoreAddress, *, session: aiohttp.ClientSession, stopping: asyncio.Event) -> None:
        """Ask every other second until `stopping` is set. While the store is away the clock runs on by itself."""
        while not stopping.is_set():
            asked_at = self._now()
            try:
                ledger = await _ask(store, session=session)
            except (aiohttp.ClientError, OSError, ValidationError):
                pass  # its absence is told by readiness
            else:
                self.correct(ledger, asked_at=asked_at, answered_at=self._now())
            await rest_unless(stopping, ASK_SECONDS)

    def _at(self, moment: float) -> datetime:
        anchor, anchored_at = self._anchor
        return anchor + timedelta(seconds=moment - anchored_at)


async def _ask(store: StoreAddress, *, session: aiohttp.ClientSession) -> LedgerTime:
    async with session.get(
        f"{store.url.rstrip('/')}/internal/v1/clock",
        headers={"Authorization": f"Bearer {store.token}"},
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
    ) as response:
        response.raise_for_status()
        return LedgerTime.model_validate_json(await response.read())
