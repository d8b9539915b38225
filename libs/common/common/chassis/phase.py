"""Where a process is in its life: starting, serving, draining. It only goes forward."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from common.chassis.health import Check, Unhealthy

_CLOSE = (b"connection", b"close")

App = Callable[[Any, Any, Any], Awaitable[None]]


class Phase:
    """The phase of one process. Made and changed on its event loop; `is_started` and `is_draining` may be read anywhere.

    `draining` is what its parts wait for; whoever has that event already gives it.
    """

    def __init__(self, draining: asyncio.Event | None = None) -> None:
        self.draining = asyncio.Event() if draining is None else draining
        self._is_started = False

    @property
    def is_started(self) -> bool:
        """True from the moment at which everything was built, for good."""
        return self._is_started

    @property
    def is_draining(self) -> bool:
        """True from the first word to stop, for good: no new work should come here."""
        return self.draining.is_set()

    def begin_serving(self) -> None:
        """Everything is built. Idempotent."""
        self._is_started = True

    def begin_drain(self) -> None:
        """Somebody asked the process to stop. Idempotent."""
        self.draining.set()

    async def check_started(self) -> None:
        """Raise while the process is still starting."""
        if not self._is_started:
            raise Unhealthy("starting")

    async def check_staying(self) -> None:
        """Raise once the process drains."""
        if self.is_draining:
            raise Unhealthy("stopping")


def readiness(checks: Mapping[str, Check], phase: Phase) -> dict[str, Check]:
    """What must hold for the next piece of work to come here: the checks, started, and not about to stop."""
    return {**checks, "startup": phase.check_started, "draining": phase.check_staying}


class CloseWhileDraining:
    """ASGI middleware: an answer of a process that drains ends its connection, so that kept ones move to another replica.

    `Connection: close` (RFC 9112 section 9.6) tells a client before it sends its next request; a connection that is closed
    without that word may take a request along.
    """

    def __init__(self, app: App, *, phase: Phase) -> None:
        self._app = app
        self._phase = phase

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request."""

        async def send_and_close(message: Any) -> None:
            if message["type"] == "http.response.start" and self._phase.is_draining:
                message = {**message, "headers": [*message.get("headers", []), _CLOSE]}
            await send(message)

        await self._app(scope, receive, send_and_close if scope["type"] == "http" else send)
