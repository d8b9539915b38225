"""Undo a content coding (RFC 9110 section 8.4.1) piece by piece: no call ever decodes more than it was given room for.

Each coding is its library's; here is only what they do not agree on: where a piece ends, and what may follow the end.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli
from backports import zstd
from common.contracts.fetches import ErrorType

from fetcher.errors import ExchangeFailed

ZSTD_WINDOW_LOG_LIMIT = 23
"""8 MiB, the most that a zstd content coding may ask its reader to hold (RFC 9659)."""
ZLIB_HEADER_BYTES = 2

_GZIP_FIRST_BYTE = 0x1F
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
_BROKEN = "The response body is not in the content coding that it says it is."


class Decoder(Protocol):
    """Decodes one body. While `needs_input` is false, `feed(b"", room)` gives the next piece of what is already inside."""

    needs_input: bool

    def feed(self, data: bytes, room: int) -> bytes:
        """Decode at most `room` (> 0) bytes. Raises ExchangeFailed `decode` for data that is not in this coding."""

    def finish(self) -> None:
        """Raise ExchangeFailed `decode` when the body ended too early."""


def open_decoder(coding: str) -> Decoder:
    """The decoder for a declared coding. Raises ExchangeFailed `decode` for one that was not asked for, and for chains."""
    make = _DECODERS.get(coding)
    if make is None:
        raise ExchangeFailed(
            ErrorType.DECODE, "The response has a content coding that was not asked for; one of gzip, deflate, br and zstd is."
        )
    return make()


def plain_name(coding: str) -> str | None:
    """The coding's registered name, None when there is none to undo. `x-gzip` is gzip (RFC 9110 section 8.4.1.3)."""
    return None if coding in ("", "identity") else coding.removeprefix("x-")


class _Identity:
    needs_input = True

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes, room: int) -> bytes:
        left = self._left + data if self._left else data
        self._left = left[room:]
        self.needs_input = not self._left
        return left[:room]

    def finish(self) -> None:
        pass


class _Gzip:
    """RFC 1952: one member after another; anything else after a member's end is no content and is ignored."""

    needs_input = True

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._left = b""

    def feed(self, data: bytes, room: int) -> bytes:
        left = self._left + data
        if left and self._member.eof:
            if left[0] != _GZIP_FIRST_BYTE:
                self._left, self.needs_input = b"", True
                return b""
            self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        piece = _inflate(self._member, left, room)
        self._left = self._member.unconsumed_tail or self._member.unused_data
        self.needs_input = not self._left and len(piece) < room
        return piece

    def finish(self) -> None:
        _check_ended(self._member.eof)


class _Deflate:
    """The zlib format (RFC 1950), or the bare deflate (RFC 1951) that some servers send by that name; two bytes tell which."""

    needs_input = True

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._left = b""

    def feed(self, data: bytes, room: int) -> bytes:
        left = self._left + data
        if self._stream is None:
            if len(left) < ZLIB_HEADER_BYTES:
                self._left = left
                return b""
            has_header = left[0] & 0x0F == zlib.DEFLATED and int.from_bytes(left[:ZLIB_HEADER_BYTES], "big") % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        if self._stream.eof:
            return b""
        piece = _inflate(self._stream, left, room)
        self._left = self._stream.unconsumed_tail
        self.needs_input = self._stream.eof or (not self._left and len(piece) < room)
        return piece

    def finish(self) -> None:
        _check_ended(self._stream is not None and self._stream.eof)


class _Brotli:
    """RFC 7932. The library rounds its limit up to whole blocks, of half a mebibyte at most; what is over waits its turn."""

    needs_input = True

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._ready = b""

    def feed(self, data: bytes, room: int) -> bytes:
        ready = self._ready
        if not ready and not self._stream.is_finished():
            try:
                ready = self._stream.process(data, output_buffer_limit=room)
            except brotli.error as error:
                raise ExchangeFailed(ErrorType.DECODE, _BROKEN) from error
        self._ready = ready[room:]
        self.needs_input = not self._ready and (self._stream.is_finished() or self._stream.can_accept_more_data())
        return ready[:room]

    def finish(self) -> None:
        _check_ended(self._stream.is_finished())


class _Zstd:
    """RFC 8878: one frame after another, within the window of RFC 9659."""

    needs_input = True

    def __init__(self) -> None:
        self._frame = _open_frame()
        self._is_inside = False

    def feed(self, data: bytes, room: int) -> bytes:
        if self._frame.eof:
            data = self._frame.unused_data + data
            self._frame, self._is_inside = _open_frame(), False
        self._is_inside = self._is_inside or bool(data)
        try:
            piece = self._frame.decompress(data, room)
        except zstd.ZstdError as error:
            raise ExchangeFailed(ErrorType.DECODE, _BROKEN) from error
        self.needs_input = not self._frame.unused_data if self._frame.eof else self._frame.needs_input
        return piece

    def finish(self) -> None:
        _check_ended(self._frame.eof or not self._is_inside)


def _open_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_LIMIT})


def _inflate(stream: "zlib._Decompress", data: bytes, room: int) -> bytes:
    try:
        return stream.decompress(data, room)
    except zlib.error as error:
        raise ExchangeFailed(ErrorType.DECODE, _BROKEN) from error


def _check_ended(has_ended: bool) -> None:
    if not has_ended:
        raise ExchangeFailed(ErrorType.DECODE, "The compressed response body ended early.")


_DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "": _Identity,
    "identity": _Identity,
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
