"""The HTTP server: tells the application that it is about to stop before it waits for requests to end, and drops who stalls."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """uvicorn's server. Its own word of shutdown comes behind the last request; a stream that waits for it would never end."""

    def __init__(
        self, config: uvicorn.Config, *, stall_seconds: int, at_start: Callable[[], None], at_shutdown: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._stall_seconds = stall_seconds
        self._at_start = at_start
        self._at_shutdown = at_shutdown

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn would send itself another at the end, before all else is closed."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, for connections that end when their client takes nothing of what it was sent (RFC 5482); call `at_start`."""
        await super().startup(sockets)
        for listening in (listening for server in self.servers for listening in server.sockets):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._stall_seconds * 1000)
        self._at_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Call `at_shutdown`, then let requests end."""
        self._at_shutdown()
        await super().shutdown(sockets)
