"""Connections that are kept for the next request: for how long, and how many at most.

A new connection costs both sides more than a whole exchange on a kept one, and each idle one holds a socket on both sides. The
connector overrides three private methods of aiohttp, where connections come and go; the tests of connections fail when they move.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long a connection is kept idle, in seconds (> 0), and how many are at once (>= 0)."""

    seconds: float = 15.0
    """As most clients do; origins that close theirs sooner are seen to."""
    limit: int = 512


class KeepingConnector(aiohttp.TCPConnector):
    """Keeps connections to all origins together within one limit: above it the one that was idle for longest is closed.

    `on_evicted` is told of each that is closed for that. With `keeping` None each request gets a connection of its own.
    """

    def __init__(self, *, keeping: Keeping | None, on_evicted: Callable[[], None] = lambda: None, **edges: Any) -> None:
        ends: dict[str, Any] = {"force_close": True} if keeping is None else {"keepalive_timeout": keeping.seconds}
        super().__init__(**edges, **ends)
        self._idle_limit = 0 if keeping is None else keeping.limit
        self._on_evicted = on_evicted
        self._idle: dict[ResponseHandler, ConnectionKey] = {}
        """The one that is idle for longest first; some of them the other side may have closed."""

    @property
    def idle(self) -> int:
        """How many connections are kept now. Safe for any thread: it only counts."""
        return sum(map(len, list(self._conns.values())))

    async def _get(self, key: ConnectionKey, traces: Any) -> Connection | None:
        if kept := self._conns.get(key):
            kept.rotate(1)  # the one that was used last; aiohttp would take each in turn, so that none of a burst's ever got old
        connection = await super()._get(key, traces)
        if connection is not None and connection.protocol is not None:
            self._idle.pop(connection.protocol, None)
        return connection

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        if protocol.transport is None:
            return
        self._idle[protocol] = key
        while len(self._idle) > self._idle_limit:
            self._evict(next(iter(self._idle)))

    def _cleanup(self) -> None:
        super()._cleanup()
        self._idle = {protocol: key for protocol, key in self._idle.items() if protocol.is_connected()}

    def _evict(self, protocol: ResponseHandler) -> None:
        kept = self._conns.get(self._idle.pop(protocol), deque())
        for entry in [entry for entry in kept if entry[0] is protocol]:
            kept.remove(entry)
        if protocol.is_connected():
            protocol.close()
            self._on_evicted()
