"""Content codings: undone whatever the chunks, never beyond the room that was given."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import brotli
import pytest
import zstandard
from common.contracts.fetches import Budget, ErrorType
from hypothesis import given
from hypothesis import strategies as st

from fetcher.body import PIECE_BYTES, read_body
from fetcher.codings import open_decoder, plain_name
from fetcher.egress.headers import ACCEPTED_CODINGS
from fetcher.errors import ExchangeFailed

MEBIBYTE = 1024 * 1024


def _raw_deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(content) + stream.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
}
each_coding = pytest.mark.parametrize("name", ENCODERS)


async def _chunks(data: bytes, *, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def _decode(data: bytes, coding: str, *, limit_bytes: int = MEBIBYTE, size: int = 65536) -> bytearray:
    return await read_body(_chunks(data, size=size), coding=coding, limit_bytes=limit_bytes)


async def _failure(data: bytes, coding: str, *, limit_bytes: int = MEBIBYTE) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as failed:
        await _decode(data, coding, limit_bytes=limit_bytes)
    return failed.value


@each_coding
@given(content=st.binary(max_size=5000) | st.builds(lambda n: b"ab" * n, st.integers(0, 9000)), size=st.integers(1, 600))
async def test_any_content_in_any_chunks(name: str, content: bytes, size: int) -> None:
    coding, encode = ENCODERS[name]
    assert await _decode(encode(content), coding, limit_bytes=20_000, size=size) == content


@each_coding
@given(content=st.binary(min_size=1, max_size=3000), room=st.integers(1, 700))
def test_no_call_gives_more_than_its_room(name: str, content: bytes, room: int) -> None:
    coding, encode = ENCODERS[name]
    decoder, pending, decoded = open_decoder(coding), encode(content * 9), b""
    while True:
        piece = decoder.feed(pending, room)
        assert len(piece) <= room
        decoded += piece
        pending = b""
        if decoder.needs_input:
            break
    decoder.finish()
    assert decoded == content * 9


@each_coding
async def test_content_of_exactly_the_limit_is_kept_and_one_byte_more_is_not(name: str) -> None:
    coding, encode = ENCODERS[name]
    assert await _decode(encode(bytes(1000)), coding, limit_bytes=1000) == bytes(1000)
    failure = await _failure(encode(bytes(1001)), coding, limit_bytes=1000)
    assert (failure.error.type, failure.exceeded) == (ErrorType.TOO_LARGE, Budget.DECODED_BYTES)


@each_coding
async def test_bomb_is_cut_off_without_being_held_in_memory(name: str) -> None:
    coding, encode = ENCODERS[name]
    bomb = encode(bytes(64 * MEBIBYTE))
    tracemalloc.start()
    try:
        failure = await _failure(bomb, coding, limit_bytes=10 * MEBIBYTE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (failure.error.type, failure.exceeded) == (ErrorType.TOO_LARGE, Budget.DECODED_RATIO)
    assert peak < 3 * MEBIBYTE + PIECE_BYTES * 4


@each_coding
@pytest.mark.parametrize("cut", [1, 2, 5, 9])
async def test_body_that_ends_early_is_a_decode_error(name: str, cut: int) -> None:
    coding, encode = ENCODERS[name]
    data = encode(bytes(range(256)) * 8)
    assert (await _failure(data[:-cut], coding)).error.type is ErrorType.DECODE


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_data_in_no_coding_is_a_decode_error(coding: str) -> None:
    assert (await _failure(b"<html>this is not coded at all</html>", coding)).error.type is ErrorType.DECODE


async def test_damaged_checksum_is_a_decode_error() -> None:
    damaged = bytearray(gzip.compress(b"hello" * 100))
    damaged[-6] ^= 0xFF
    assert (await _failure(bytes(damaged), "gzip")).error.type is ErrorType.DECODE


@pytest.mark.parametrize(
    "coding", ["compress", "gzip, gzip", "gzip, identity", "br, gzip", "gzip;q=1", "aws-chunked", "nonsense", ","]
)
async def test_coding_that_was_not_offered_is_a_decode_error(coding: str) -> None:
    assert (await _failure(gzip.compress(b"hello"), coding)).error.type is ErrorType.DECODE


async def test_coding_of_no_body_at_all_does_not_matter() -> None:
    assert await _decode(b"", "nonsense") == b""


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [1, 7, 65536])
async def test_members_and_frames_follow_each_other(coding: str, size: int) -> None:
    encode = ENCODERS[coding][1]
    data = encode(b"hello ") + encode(b"") + encode(b"world")
    assert await _decode(data, coding, size=size) == b"hello world"


async def test_skippable_zstd_frame_is_skipped() -> None:
    assert await _decode(b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + zstandard.compress(b"hi"), "zstd") == b"hi"


async def test_zstd_window_over_8_mib_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = stream.compress(b"hello" * 100) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + stream.flush()
    assert (await _failure(data, "zstd")).error.type is ErrorType.DECODE


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_follows_the_end_is_ignored(coding: str) -> None:
    assert await _decode(ENCODERS[coding][1](b"hello") + bytes(300), coding, limit_bytes=5) == b"hello"


def test_what_is_asked_for_is_what_is_decoded() -> None:
    for coding in ACCEPTED_CODINGS.split(", "):
        open_decoder(coding).feed(b"", 1)
        assert plain_name(coding) == coding
    assert [plain_name(coding) for coding in ("", "identity", "x-gzip")] == [None, None, "gzip"]
