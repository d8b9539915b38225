"""Bodies: decoded by hand, within their limit, whatever the wire brings."""

import gzip
import hashlib
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
import zstandard
from common.contracts.fetches import INLINE_BODY_LIMIT_BYTES, ErrorType
from hypothesis import given
from hypothesis import strategies as st

from fetcher.body import PIECE_BYTES, WIRE_SLACK_BYTES, check_declared_length, pack_body, read_body
from fetcher.errors import ExchangeFailed

MEBIBYTE = 1024 * 1024


async def _chunks(data: bytes, *, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def _error(data: bytes, *, coding: str, limit_bytes: int = MEBIBYTE) -> ErrorType:
    with pytest.raises(ExchangeFailed) as failed:
        await read_body(_chunks(data), coding=coding, limit_bytes=limit_bytes)
    return failed.value.error.type


@pytest.mark.parametrize("coding", ["", "identity"])
async def test_body_of_exactly_the_limit_is_kept_and_one_byte_more_is_not(coding: str) -> None:
    assert await read_body(_chunks(bytes(1000), size=7), coding=coding, limit_bytes=1000) == bytes(1000)
    assert await _error(bytes(1001), coding=coding, limit_bytes=1000) is ErrorType.TOO_LARGE


@given(content=st.binary(max_size=5000), size=st.integers(1, 600), members=st.integers(1, 4))
async def test_gzip_in_any_chunks_and_members_is_decoded(content: bytes, size: int, members: int) -> None:
    data = gzip.compress(content) * members
    assert await read_body(_chunks(data, size=size), coding="gzip", limit_bytes=20_000) == content * members


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
async def test_both_names_of_gzip_are_known(coding: str) -> None:
    assert await read_body(_chunks(gzip.compress(b"hello")), coding=coding, limit_bytes=5) == b"hello"


async def test_what_follows_the_last_gzip_member_is_ignored() -> None:
    assert await read_body(_chunks(gzip.compress(b"hello") + bytes(300)), coding="gzip", limit_bytes=5) == b"hello"


async def test_gzip_bomb_is_cut_off_without_being_held_in_memory() -> None:
    bomb = gzip.compress(bytes(256 * MEBIBYTE), 9)
    tracemalloc.start()
    try:
        assert await _error(bomb, coding="gzip", limit_bytes=MEBIBYTE) is ErrorType.TOO_LARGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEBIBYTE * 4 + PIECE_BYTES * 4


async def test_flood_of_empty_gzip_members_ends_at_the_wire_limit() -> None:
    empty = gzip.compress(b"")
    flood = empty * ((1000 + WIRE_SLACK_BYTES) // len(empty) + 2)
    assert await _error(flood, coding="gzip", limit_bytes=1000) is ErrorType.TOO_LARGE


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "gzip, identity", "nonsense"])
async def test_coding_that_was_not_offered_is_a_decode_error(coding: str) -> None:
    assert await _error(zlib.compress(b"hello"), coding=coding) is ErrorType.DECODE


async def test_coding_of_no_body_at_all_does_not_matter() -> None:
    assert await read_body(_chunks(b""), coding="br", limit_bytes=1) == b""


@pytest.mark.parametrize("data", [gzip.compress(b"hello" * 100)[:-9], b"\x1f", b"not gzip", gzip.compress(b"a") + b"\x1f\x8bX"])
async def test_broken_gzip_is_a_decode_error(data: bytes) -> None:
    assert await _error(data, coding="gzip") is ErrorType.DECODE


def test_declared_length_decides_only_for_undecoded_bodies() -> None:
    check_declared_length(1001, coding="gzip", limit_bytes=1000)
    check_declared_length(None, coding="", limit_bytes=1000)
    check_declared_length(1000, coding="", limit_bytes=1000)
    with pytest.raises(ExchangeFailed):
        check_declared_length(1001, coding="", limit_bytes=1000)


@pytest.mark.parametrize("size", [1, 5000, 300_000])
async def test_packed_body_is_zstd_of_what_its_digest_names(size: int) -> None:
    content = bytearray(b"abcdefghij" * size)[:size]
    packed = await pack_body(content)
    assert packed is not None
    assert zstandard.decompress(packed.data) == content
    assert packed.reference.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (packed.reference.size_bytes, packed.reference.compressed_bytes) == (size, len(packed.data))
    assert packed.reference.is_inline


async def test_body_that_does_not_compress_below_the_limit_is_not_inline(incompressible: bytes) -> None:
    packed = await pack_body(bytearray(incompressible))
    assert packed is not None and len(packed.data) > INLINE_BODY_LIMIT_BYTES and not packed.reference.is_inline


async def test_empty_body_is_no_body() -> None:
    assert await pack_body(bytearray()) is None
