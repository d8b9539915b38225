"""The HTTP server: tells the application that it is about to stop before it waits for requests to end, and drops who stalls."""

import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn


class Server(uvicorn.Server):
    """uvicorn's server. Its own word of shutdown comes behind the last request; a stream that waits for it would never end."""

    def __init__(self, config: uvicorn.Config, *, stall_seconds: int, at_shutdown: Callable[[], None]) -> None:
        super().__init__(config)
        self._stall_seconds = stall_seconds
        self._at_shutdown = at_shutdown

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the serving; a second SIGINT does not wait for requests.

        uvicorn keeps the signal in mind and raises it again when serving is over, and the process would die of it before its last
        spans and log lines are out. Here the process ends by itself, with 0.
        """
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, for connections that end when their client takes nothing of what it was sent (RFC 5482)."""
        await super().startup(sockets)
        for listening in (listening for server in self.servers for listening in server.sockets):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._stall_seconds * 1000)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Call `at_shutdown`, then let requests end."""
        self._at_shutdown()
        await super().shutdown(sockets)
