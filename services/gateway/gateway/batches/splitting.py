"""Lines out of a stream of bytes, with a bound on each and no more than one in memory."""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

NEWLINE = b"\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line without its end: its number, from 1, and its bytes, None when it was longer than allowed."""

    number: int
    content: bytes | None


async def read_lines(chunks: AsyncIterable[bytes], *, limit_bytes: int) -> AsyncIterator[Line]:
    """The lines that are not blank, numbered as an editor does. What is over `limit_bytes` is dropped as it comes."""
    rest, number, is_over = b"", 1, False
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(NEWLINE)
        for content in whole:
            line = _line(number, content, is_over=is_over, limit_bytes=limit_bytes)
            number, is_over = number + 1, False
            if line is not None:
                yield line
        if len(rest) > limit_bytes + len(BYTE_ORDER_MARK) + 1:  # a carriage return may be the last of it
            rest, is_over = b"", True
    line = _line(number, rest, is_over=is_over, limit_bytes=limit_bytes)
    if line is not None:
        yield line


def _line(number: int, content: bytes, *, is_over: bool, limit_bytes: int) -> Line | None:
    """The line, or None when it is blank."""
    if number == 1:
        content = content.removeprefix(BYTE_ORDER_MARK)
    content = content.strip(b" \t\r")
    if is_over or len(content) > limit_bytes:
        return Line(number=number, content=None)
    return Line(number=number, content=content) if content else None
