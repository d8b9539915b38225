"""A response body: read within its limit, decode it, and pack it for the road (zstd, with the digest of the decoded bytes).

Memory is bounded by the limit, not by what the other side sends: a gzip bomb is inflated one piece at a time and cut off.
"""

import asyncio
import hashlib
import threading
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import zstandard
from common.contracts.fetches import INLINE_BODY_LIMIT_BYTES, BodyReference, ErrorType

from fetcher.errors import ExchangeFailed

COMPRESSION_LEVEL = 3
PIECE_BYTES = 256 * 1024
"""Decoded at once, at most; between two pieces the event loop serves others."""
PACK_IN_PLACE_LIMIT_BYTES = 64 * 1024
"""Up to this size packing takes less than a millisecond, and a thread would cost more than it frees."""
WIRE_SLACK_BYTES = 64 * 1024
"""What a body may take on the wire beyond its decoded limit: gzip adds a little, a flood of empty gzip members a lot."""

_GZIP_WINDOW_BITS = 31
_GZIP_FIRST_BYTE = 0x1F
_of_thread = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBody:
    """A body ready to travel: what refers to it, and the zstd bytes."""

    reference: BodyReference
    data: bytes


async def read_body(chunks: AsyncIterator[bytes], *, coding: str, limit_bytes: int) -> bytearray:
    """The decoded body. Raises ExchangeFailed `too_large` above the limit, and `decode` for codings we did not offer.

    Holds at most `limit_bytes` + 1 decoded bytes.
    """
    decoder, body, wire_bytes = None, bytearray(), 0
    async for chunk in chunks:
        decoder = decoder or _decoder_for(coding)
        wire_bytes += len(chunk)
        if wire_bytes > limit_bytes + WIRE_SLACK_BYTES:
            raise _too_large(limit_bytes)
        pending = chunk
        while pending:
            piece, pending = decoder.feed(pending, min(PIECE_BYTES, limit_bytes + 1 - len(body)))
            body += piece
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
            if pending:
                await asyncio.sleep(0)
    if decoder is not None:
        decoder.finish()
    return body


def check_declared_length(length: int | None, *, coding: str, limit_bytes: int) -> None:
    """Raise `too_large` at once for an undecoded body that says that it will be; a coded one may still grow or shrink."""
    if length is not None and length > limit_bytes and coding in ("", "identity"):
        raise _too_large(limit_bytes)


async def pack_body(content: bytearray) -> PackedBody | None:
    """Digest and compress; None for an empty body. Large ones are packed in a thread, for the loop's sake."""
    if not content:
        return None
    if len(content) <= PACK_IN_PLACE_LIMIT_BYTES:
        return _pack(content)
    return await asyncio.to_thread(_pack, content)


def _pack(content: bytearray) -> PackedBody:
    data = _compressor().compress(content)
    reference = BodyReference(
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        size_bytes=len(content),
        compressed_bytes=len(data),
        is_inline=len(data) <= INLINE_BODY_LIMIT_BYTES,
    )
    return PackedBody(reference=reference, data=data)


def _compressor() -> zstandard.ZstdCompressor:
    """One for each thread: its working memory takes longer to allocate than a small page to compress."""
    if not hasattr(_of_thread, "compressor"):
        _of_thread.compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
    compressor: zstandard.ZstdCompressor = _of_thread.compressor
    return compressor


class _Decoder(Protocol):
    def feed(self, data: bytes, room: int) -> tuple[bytes, bytes]:
        """Decode at most `room` (> 0) bytes: the decoded piece, and the input that is left for the next turn."""

    def finish(self) -> None:
        """Raise ExchangeFailed when the body ended too early."""


class _Identity:
    def feed(self, data: bytes, room: int) -> tuple[bytes, bytes]:
        return data[:room], data[room:]

    def finish(self) -> None:
        pass


class _Gunzip:
    """RFC 1952: one member after another; anything else after a member's end is no content and is ignored."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)

    def feed(self, data: bytes, room: int) -> tuple[bytes, bytes]:
        if self._member.eof:
            if data[0] != _GZIP_FIRST_BYTE:
                return b"", b""
            self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            piece = self._member.decompress(data, room)
        except zlib.error as error:
            raise ExchangeFailed(ErrorType.DECODE, "The response body is not the gzip that it says it is.") from error
        return piece, self._member.unconsumed_tail or self._member.unused_data

    def finish(self) -> None:
        if not self._member.eof:
            raise ExchangeFailed(ErrorType.DECODE, "The compressed response body ended early.")


def _decoder_for(coding: str) -> _Decoder:
    if coding in ("", "identity"):
        return _Identity()
    if coding in ("gzip", "x-gzip"):  # RFC 9110 section 8.4.1.3 makes them one
        return _Gunzip()
    raise ExchangeFailed(ErrorType.DECODE, "The response has a content coding that was not asked for; only gzip is.")


def _too_large(limit_bytes: int) -> ExchangeFailed:
    return ExchangeFailed(ErrorType.TOO_LARGE, f"The response body is larger than {limit_bytes} bytes.")
