"""The HTTP server, which tells the application that it is about to stop before it waits for requests to end."""

import socket
from collections.abc import Callable

import uvicorn


class Server(uvicorn.Server):
    """uvicorn's server. Its own word of shutdown comes behind the last request; a stream that waits for it would never end."""

    def __init__(self, config: uvicorn.Config, *, at_shutdown: Callable[[], None]) -> None:
        super().__init__(config)
        self._at_shutdown = at_shutdown

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Call `at_shutdown`, then let requests end."""
        self._at_shutdown()
        await super().shutdown(sockets)
