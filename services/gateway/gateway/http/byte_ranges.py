"""Read which part of a content a request asks for (RFC 9110 section 14); knows nothing of how content is kept."""

import re
from dataclasses import dataclass

SPEC = re.compile(r"\A([0-9]{0,100})-([0-9]{0,100})\Z")
"""One range of bytes, by its first and last position or by the length of the end. Longer numbers are nobody's honest question."""


class RangeNotSatisfiable(Exception):
    """The range is well formed and wholly outside the content."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `first` to `last`, both included, of a content that has them."""

    first: int
    last: int

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return self.last - self.first + 1


def read_range(given: str | None, *, size_bytes: int) -> ByteRange | None:
    """The one range that is asked for, cut to the content; None when the whole content is the answer.

    Whole is the answer to no range, to several (section 14.2 lets a server ignore them), to one that is malformed and to other
    units. Raises RangeNotSatisfiable (section 15.5.17).
    """
    unit, _, listed = (given or "").partition("=")
    ranges = [spec.strip(" \t") for spec in listed.split(",")]
    spec = SPEC.match("".join(ranges)) if sum(map(bool, ranges)) == 1 else None
    if unit.strip(" \t").lower() != "bytes" or spec is None:
        return None
    first, last = (int(digits) if digits else None for digits in spec.groups())
    return _of_end(last, size_bytes=size_bytes) if first is None else _of_positions(first, last, size_bytes=size_bytes)


def _of_end(length: int | None, *, size_bytes: int) -> ByteRange | None:
    """The last bytes (section 14.1.2). Of nothing they are all of it, which is no range."""
    if length == 0:
        raise RangeNotSatisfiable
    return ByteRange(max(0, size_bytes - length), size_bytes - 1) if length is not None and size_bytes else None


def _of_positions(first: int, last: int | None, *, size_bytes: int) -> ByteRange | None:
    if last is not None and last < first:
        return None  # section 14.1.1: it is invalid, not empty
    if first >= size_bytes:
        raise RangeNotSatisfiable
    return ByteRange(first, size_bytes - 1 if last is None else min(last, size_bytes - 1))
