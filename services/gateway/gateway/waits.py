"""Wait with a request until its fetch has finished: `Prefer: wait=N`.

The feed wakes it, so that nothing polls. A look at the store now and then covers what the feed cannot tell.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from common.contracts.views import FetchView
from fastapi import Request

from gateway.dependencies import Means
from gateway.errors import StoreUnavailable
from gateway.http.hangups import hangup
from gateway.http.preferences import Preferences
from gateway.principal import Principal
from gateway.problems.answers import Problem

LOOK_SECONDS = 5.0
"""How often a wait looks at the store without having been woken."""
LOOK_AGAIN_SECONDS = 0.25
"""The same after it was woken and the store could not be asked."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Wait:
    """One wait; of no length when nobody asked for one, or no place was free."""

    fetch_id: UUID
    request: Request
    means: Means
    principal: Principal
    preferences: Preferences
    seconds: int = 0
    finish: "asyncio.Future[None] | None" = None

    def heeded(self, *, is_finished: bool) -> dict[str, str]:
        """`Preference-Applied` (RFC 7240 section 3) of an answer with the finished fetch, or with one that goes on."""
        heeded = [f"wait={self.seconds}"] if self.finish is not None else []
        if self.preferences.respond_async and not is_finished:
            heeded.insert(0, "respond-async")
        return {"Preference-Applied": ", ".join(heeded)} if heeded else {}

    async def finished(self) -> FetchView | None:
        """The fetch once it has finished; None when it does not in time, or the client hangs up."""
        if self.finish is None:
            return None
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.seconds
        async with hangup(self.request) as gone:
            while True:
                awaited = [gone] if self.finish.done() else [gone, self.finish]
                pause = LOOK_AGAIN_SECONDS if self.finish.done() else LOOK_SECONDS
                left = max(0.0, deadline - clock())
                await asyncio.wait(awaited, timeout=min(pause, left), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return None
                view = await self._look()
                if view is not None or clock() >= deadline or self.means.feed.is_closing:
                    return view

    async def _look(self) -> FetchView | None:
        try:
            view = await self.means.store.read_fetch(self.fetch_id, tenant=self.principal.tenant)
        except StoreUnavailable as error:
            log.warning("a wait could not look at the store", reason=str(error))
            return None
        return view if view is not None and view.status.is_terminal else None


@contextmanager
def waiting_for(
    fetch_id: UUID, *, preferences: Preferences, request: Request, means: Means, principal: Principal
) -> Iterator[Wait]:
    """A wait for the fetch. Begin it before the fetch is promised or looked at: whatever finishes from then on ends it."""
    wait = Wait(fetch_id=fetch_id, request=request, means=means, principal=principal, preferences=preferences)
    with ExitStack() as stack:
        if preferences.wait_seconds:
            with suppress(Problem):  # a preference is no demand: without a place the answer comes at once
                stack.enter_context(means.waits.place(request, principal))
                wait.finish = stack.enter_context(means.feed.finishes.expect(fetch_id))
                wait.seconds = min(preferences.wait_seconds, int(means.wait_limit_seconds))
        yield wait
