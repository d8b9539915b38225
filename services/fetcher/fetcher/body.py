"""A response body: read within its limit, decode it, and pack it for the road (zstd, with the digest of the decoded bytes).

Memory is bounded by the limit, not by what the other side sends: a bomb is inflated one piece at a time and cut off.
"""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import zstandard
from common.contracts.fetches import INLINE_BODY_LIMIT_BYTES, BodyReference, Budget, ErrorType

from fetcher.codings import open_decoder, plain_name
from fetcher.egress.budgets import Budgets
from fetcher.errors import ExchangeFailed
from fetcher.large_bodies import Place

COMPRESSION_LEVEL = 3
SMALL_COMPRESSION_LEVEL = 1
"""Of what is packed in place: a page of 10 kB comes out as small as with level 3, in two thirds of the time."""
PIECE_BYTES = 256 * 1024
"""Decoded at once, at most; between two pieces the event loop serves others."""
PACK_IN_PLACE_LIMIT_BYTES = 64 * 1024
"""Up to this size packing takes less than a millisecond, and a thread would cost more than it frees."""
SLICE_BYTES = 4 * 1024
"""Coded bytes that a decoder gets at once: few, so that what came out can be held against what went in."""

_of_thread = threading.local()


class Tally(Protocol):
    """Where the decoded bytes are counted, so that they are known also when reading ends in a failure."""

    decoded_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBody:
    """A body ready to travel: what refers to it, and the zstd bytes."""

    reference: BodyReference
    data: bytes


async def read_body(
    chunks: AsyncIterator[bytes],
    *,
    coding: str,
    limit_bytes: int,
    tally: Tally | None = None,
    budgets: Budgets = Budgets(),
    place: Place | None = None,
) -> bytearray:
    """The decoded body; `tally` counts it while it grows, and beyond a size it waits for its `place`.

    Raises ExchangeFailed `too_large` above `limit_bytes` and for what is out of proportion to its wire bytes, `decode` for
    codings that we did not offer and data that is not in them. Holds at most `limit_bytes` + 1 decoded bytes.
    """
    decoder, body, wire_bytes = None, bytearray(), 0
    async for chunk in chunks:
        decoder = decoder or open_decoder(coding)
        is_coded = plain_name(coding) is not None
        slice_bytes = SLICE_BYTES if is_coded else len(chunk)
        for start in range(0, len(chunk), slice_bytes):
            pending = chunk[start : start + slice_bytes]
            wire_bytes += len(pending)
            if is_coded and wire_bytes > limit_bytes + budgets.wire_slack_bytes:
                raise _too_large(limit_bytes, exceeded=Budget.WIRE_BYTES)
            while True:
                piece = decoder.feed(pending, min(PIECE_BYTES, limit_bytes + 1 - len(body)))
                body += piece
                if tally is not None:
                    tally.decoded_bytes = len(body)
                _check_decoded(len(body), wire_bytes=wire_bytes, limit_bytes=limit_bytes, budgets=budgets)
                if place is not None:
                    await place.make_room(len(body))
                if decoder.needs_input:
                    break
                pending = b""
                await asyncio.sleep(0)
    if decoder is not None:
        decoder.finish()
    return body


def check_declared_length(length: int | None, *, coding: str, limit_bytes: int, budgets: Budgets = Budgets()) -> None:
    """Raise `too_large` at once for a body that says that it will be. A coded one may still grow or shrink."""
    if length is None:
        return
    if plain_name(coding) is None and length > limit_bytes:
        raise _too_large(limit_bytes, exceeded=Budget.DECODED_BYTES)
    if length > limit_bytes + budgets.wire_slack_bytes:
        raise _too_large(limit_bytes, exceeded=Budget.WIRE_BYTES)


async def pack_body(content: bytearray) -> PackedBody | None:
    """Digest and compress; None for an empty body. Large ones are packed in a thread, for the loop's sake."""
    if not content:
        return None
    if len(content) <= PACK_IN_PLACE_LIMIT_BYTES:
        return _pack(content, level=SMALL_COMPRESSION_LEVEL)
    return await asyncio.to_thread(_pack, content, level=COMPRESSION_LEVEL)


def _pack(content: bytearray, *, level: int) -> PackedBody:
    data = _compressor(level).compress(content)
    reference = BodyReference(
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        size_bytes=len(content),
        compressed_bytes=len(data),
        is_inline=len(data) <= INLINE_BODY_LIMIT_BYTES,
    )
    return PackedBody(reference=reference, data=data)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """One for each thread and level: its working memory takes longer to allocate than a small page to compress."""
    compressors: dict[int, zstandard.ZstdCompressor] = _of_thread.__dict__.setdefault("compressors", {})
    if level not in compressors:
        compressors[level] = zstandard.ZstdCompressor(level=level)
    return compressors[level]


def _check_decoded(decoded_bytes: int, *, wire_bytes: int, limit_bytes: int, budgets: Budgets) -> None:
    if decoded_bytes > limit_bytes:
        raise _too_large(limit_bytes, exceeded=Budget.DECODED_BYTES)
    if decoded_bytes > budgets.ratio_free_bytes and decoded_bytes > wire_bytes * budgets.decoded_ratio:
        detail = f"The response body decodes to more than {budgets.decoded_ratio} times its size."
        raise ExchangeFailed(ErrorType.TOO_LARGE, detail, exceeded=Budget.DECODED_RATIO)


def _too_large(limit_bytes: int, *, exceeded: Budget) -> ExchangeFailed:
    return ExchangeFailed(ErrorType.TOO_LARGE, f"The response body is larger than {limit_bytes} bytes.", exceeded=exceeded)
