"""Bodies: decoded by hand, within their limit, whatever the wire brings."""

import gzip
import hashlib
from collections.abc import AsyncIterator

import pytest
import zstandard
from common.contracts.fetches import INLINE_BODY_LIMIT_BYTES, Budget, ErrorType

from fetcher.body import check_declared_length, pack_body, read_body
from fetcher.egress.budgets import Budgets
from fetcher.egress.evidence import EvidenceLog
from fetcher.errors import ExchangeFailed

MEBIBYTE = 1024 * 1024
WIRE_SLACK_BYTES = Budgets().wire_slack_bytes


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


async def test_flood_of_empty_gzip_members_ends_at_the_wire_limit() -> None:
    empty = gzip.compress(b"")
    flood = empty * ((1000 + WIRE_SLACK_BYTES) // len(empty) + 2)
    assert await _error(flood, coding="gzip", limit_bytes=1000) is ErrorType.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "coding", "exceeded"),
    [
        (bytes(1001), "", Budget.DECODED_BYTES),
        (gzip.compress(bytes(1001)), "gzip", Budget.DECODED_BYTES),
        (gzip.compress(b"") * 4000, "gzip", Budget.WIRE_BYTES),
    ],
    ids=["plain", "gzip", "flood"],  # a gzip member tells the time: its bytes make no name that two processes agree on
)
async def test_failure_names_the_budget_and_what_was_decoded_is_counted(data: bytes, coding: str, exceeded: Budget) -> None:
    log = EvidenceLog()
    with pytest.raises(ExchangeFailed) as failed:
        await read_body(_chunks(data), coding=coding, limit_bytes=1000, tally=log)
    assert failed.value.exceeded is exceeded
    assert log.decoded_bytes == (0 if exceeded is Budget.WIRE_BYTES else 1001)


async def test_ratio_counts_only_beyond_the_first_mebibyte() -> None:
    within, beyond = gzip.compress(bytes(MEBIBYTE)), gzip.compress(bytes(MEBIBYTE + 1))
    assert len(within) * 200 < MEBIBYTE
    assert len(await read_body(_chunks(within), coding="gzip", limit_bytes=9 * MEBIBYTE)) == MEBIBYTE
    with pytest.raises(ExchangeFailed) as failed:
        await read_body(_chunks(beyond), coding="gzip", limit_bytes=9 * MEBIBYTE)
    assert failed.value.exceeded is Budget.DECODED_RATIO


async def test_page_that_compresses_well_is_no_bomb() -> None:
    rows = b"".join(b"<tr><td>%d</td><td class='number'>%d</td></tr>\n" % (row, row * 7919) for row in range(60_000))
    assert await read_body(_chunks(gzip.compress(rows)), coding="gzip", limit_bytes=9 * MEBIBYTE) == rows


def test_declared_length_decides_at_once_where_it_can() -> None:
    check_declared_length(1001, coding="gzip", limit_bytes=1000)
    check_declared_length(1000 + WIRE_SLACK_BYTES, coding="br", limit_bytes=1000)
    with pytest.raises(ExchangeFailed):
        check_declared_length(1001 + WIRE_SLACK_BYTES, coding="br", limit_bytes=1000)
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
