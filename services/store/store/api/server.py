"""The server of the internal API."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket

import uvicorn


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to the process: it stops when `should_exit` is set, and calls `at_start` before."""

    def __init__(self, config: uvicorn.Config, *, at_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._at_start = at_start

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: uvicorn would send itself another at the end, before all else is closed."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, then call `at_start`."""
        await super().startup(sockets)
        self._at_start()
