"""The store's overview, read once for all who look at about the same time."""

import asyncio

from common.contracts.overview import Overview

from gateway.errors import StoreUnavailable
from gateway.store_client import StoreClient


class OverviewReader:
    """Keeps the last answer for `max_age_seconds`, a failure too, so that viewers do not add up to load on the store."""

    def __init__(self, store: StoreClient, *, max_age_seconds: float) -> None:
        self._store = store
        self._max_age_seconds = max_age_seconds
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._kept: Overview | None = None

    async def read(self) -> Overview | None:
        """The deployment at a glance, or None while the store does not answer."""
        async with self._reading:
            loop = asyncio.get_running_loop()
            if loop.time() - self._read_at >= self._max_age_seconds:
                try:
                    self._kept = await self._store.read_overview()
                except StoreUnavailable:
                    self._kept = None
                self._read_at = loop.time()
            return self._kept
