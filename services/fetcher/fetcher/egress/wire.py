"""The bytes of a connection, counted as they arrive, before aiohttp has made anything of them.

aiohttp bounds one line, not a head that never ends, a flood of interim responses (RFC 9110 section 15.2), nor what goes into
framing: chunk extensions and trailers (RFC 9112 section 7.1) carry no content that anyone else could count. It also keeps what
arrives after a response has ended, and would take it for the answer to the next request: here that ends the connection.
"""

import asyncio
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from common.contracts.fetches import Budget, ErrorType

from fetcher.egress.budgets import Budgets
from fetcher.egress.headers import headers_too_large
from fetcher.errors import ExchangeFailed

HEAD_END = b"\r\n\r\n"
FRAMING_FACTOR = 8
"""Chunks of one byte, the smallest that mean anything, take six bytes each."""


class MeteredProtocol(ResponseHandler):
    """One connection; its counts begin anew with each request. What goes over a budget ends the connection and the exchange."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, budgets: Budgets) -> None:
        super().__init__(loop)
        self._budgets = budgets
        self._received_bytes = 0
        self._seen = b""
        self._has_head = False
        self._is_spoiled = False
        self._content: StreamReader | None = None
        self._head_ends_at: float | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def set_response_params(self, **params: Any) -> None:
        """A request is about to go out; from now on the head of its response must be complete within its budget."""
        self._received_bytes = 0
        self._seen = b""
        self._has_head = False
        self._is_spoiled = False
        self._content = None
        self._head_ends_at = self._loop.time() + self._budgets.first_byte_seconds
        if self._head_timer is None:
            self._head_timer = self._loop.call_at(self._head_ends_at, self._look_for_head)
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A response head has been read; only a final one ends the count of its bytes."""
        if self._has_head:
            self._is_spoiled = True
            return
        message, self._content = data
        self._has_head = message.code >= 200 or message.code == 101
        if self._has_head:
            self._head_ends_at = None
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """What breaks a connection breaks the body that comes over it, and not only when it ends too early."""
        super().set_exception(exc, *cause)
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(exc)

    def data_received(self, data: bytes) -> None:
        """Count what came and hand it on; without data aiohttp goes on with what it has held back."""
        if not self._has_head:
            data = self._feed_head(data)
            if not data:
                return
        if data and self._content is not None and self._content.is_eof():
            self._is_spoiled = True
        else:
            self._received_bytes += len(data)
            super().data_received(data)
        if self._is_spoiled:
            self.force_close()
            if self.transport is not None:
                self.transport.abort()
            return
        if self._reading_paused or self._content is None:
            return  # aiohttp holds some of it back, so that content and framing cannot be told apart yet
        slack_bytes = self._budgets.header_bytes + self._budgets.wire_slack_bytes
        if self._received_bytes > slack_bytes + FRAMING_FACTOR * self._content.total_bytes:
            detail = "The response is mostly framing, not content."
            self._end(ExchangeFailed(ErrorType.TOO_LARGE, detail, exceeded=Budget.WIRE_BYTES))

    def _feed_head(self, data: bytes) -> bytes:
        """Feed no more than may be a head; what is left of `data` once the head is complete.

        The head goes alone: aiohttp drops it when it cannot read what came with it, such as bytes after the end of a body, and
        whether those came together is chance.
        """
        while data and not self._has_head:
            room = self._budgets.header_bytes + 1 - self._received_bytes
            end = (self._seen + data).find(HEAD_END)
            if end >= 0:
                room = min(room, end + len(HEAD_END) - len(self._seen))
            piece, data = data[:room], data[room:]
            self._received_bytes += len(piece)
            self._seen = b"" if end >= 0 else (self._seen + piece)[-len(HEAD_END) + 1 :]
            super().data_received(piece)
            if self._exception is not None:
                return b""
            if not self._has_head and self._received_bytes > self._budgets.header_bytes:
                self._end(headers_too_large())
                return b""
        return data

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone, and nothing more will come over it."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _look_for_head(self) -> None:
        """The connection's one timer: most heads come in time, and setting one for each request costs more than a late look."""
        self._head_timer = None
        if self._head_ends_at is None:
            return
        if self._loop.time() < self._head_ends_at:
            self._head_timer = self._loop.call_at(self._head_ends_at, self._look_for_head)
        else:
            self._end(ExchangeFailed(ErrorType.TIMEOUT, "The host did not answer in time.", exceeded=Budget.FIRST_BYTE))

    def _end(self, failure: ExchangeFailed) -> None:
        if self._payload is not None:
            self._payload.set_exception(failure)
        self._payload = None  # or the loss of the connection would put another exception in the place of this one
        self.set_exception(failure)
        if self.transport is not None:
            self.transport.abort()
