"""Whether a long queue slows down what leaves it: a stack that is kept at a depth, and its fetches a second meanwhile."""

import asyncio
import time

import aiohttp
import asyncpg
from fetchwork_local.stack import Stack

from contest.pages import Pages
from contest.stack_run import client_of, finished_fetches, ledger_of, submit_batch

FILL_LINES = 10_000
FEED_LINES = 250
FILL_TIMEOUT_SECONDS = 300
POLL_SECONDS = 0.02
WARM_UP_SECONDS = 2.0


class Kept:
    """One stack, kept at `depth` unfinished fetches while it is measured."""

    def __init__(self, stack: Stack, pages: Pages, *, depth: int) -> None:
        self._stack = stack
        self._pages = pages
        self._depth = depth
        self._accepted = 0

    def fill(self) -> None:
        """Queue so many that `depth` are left when all are in the ledger."""
        asyncio.run(self._fill())

    def per_second(self, seconds: float) -> float:
        """Fetches a second over so long, after a moment to get going, with new ones for those that finish."""
        return asyncio.run(self._per_second(seconds))

    async def _fill(self) -> None:
        async with client_of(self._stack.status()) as session, ledger_of(self._stack) as ledger:
            async with asyncio.timeout(FILL_TIMEOUT_SECONDS):
                while (missing := self._depth - await self._unfinished(ledger)) > 0:
                    await submit_batch(session, self._pages.urls(lines := min(missing, FILL_LINES)))
                    self._accepted += lines
                while await ledger.fetchval("SELECT count(*) FROM fetches") < self._accepted:
                    await asyncio.sleep(POLL_SECONDS)

    async def _per_second(self, seconds: float) -> float:
        async with client_of(self._stack.status()) as session, ledger_of(self._stack) as ledger:
            await self._keep_for(WARM_UP_SECONDS, session, ledger)
            before, started = await finished_fetches(ledger), time.perf_counter()
            await self._keep_for(seconds, session, ledger)
            return (await finished_fetches(ledger) - before) / (time.perf_counter() - started)

    async def _keep_for(self, seconds: float, session: aiohttp.ClientSession, ledger: asyncpg.Connection) -> None:
        ends_at = time.perf_counter() + seconds
        while time.perf_counter() < ends_at:
            if await self._unfinished(ledger) <= self._depth - FEED_LINES:
                await submit_batch(session, self._pages.urls(FEED_LINES))
                self._accepted += FEED_LINES
            else:
                await asyncio.sleep(POLL_SECONDS)

    async def _unfinished(self, ledger: asyncpg.Connection) -> int:
        return self._accepted - await finished_fetches(ledger)
