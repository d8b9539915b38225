"""Lines are the same however the bytes arrive, and a long one costs no memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.batches.splitting import BYTE_ORDER_MARK, Line, read_lines

LIMIT_BYTES = 10


async def _arriving(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _read(*chunks: bytes, limit_bytes: int = LIMIT_BYTES) -> list[tuple[int, bytes | None]]:
    return [(line.number, line.content) async for line in read_lines(_arriving(chunks), limit_bytes=limit_bytes)]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (b"a\nb", [(1, b"a"), (2, b"b")]),
        (b"a\r\n\r\n b \n", [(1, b"a"), (3, b"b")]),
        (BYTE_ORDER_MARK + b"a\n" + BYTE_ORDER_MARK, [(1, b"a"), (2, BYTE_ORDER_MARK)]),
        (b"x" * 10 + b"\r\n" + b"x" * 11 + b"\na", [(1, b"x" * 10), (2, None), (3, b"a")]),
        (b"x" * 100, [(1, None)]),
    ],
)
async def test_lines_are_numbered_as_an_editor_numbers_them(body: bytes, lines: list[tuple[int, bytes | None]]) -> None:
    assert await _read(body) == lines


@given(st.lists(st.binary(max_size=8).map(lambda text: text.replace(b"\r", b"\n")), max_size=12), st.integers(1, 7))
def test_how_the_bytes_arrive_makes_no_difference(parts: list[bytes], size: int) -> None:
    body = b"".join(parts)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert asyncio.run(_read(*pieces)) == asyncio.run(_read(body))


async def test_of_a_line_that_never_ends_no_more_than_the_limit_is_kept() -> None:
    kept = 0

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"y" * 1000
        yield b"\nz"

    async for line in read_lines(endless(), limit_bytes=5000):
        assert line == (Line(number=1, content=None) if not kept else Line(number=2, content=b"z"))
        kept += 1
    assert kept == 2
