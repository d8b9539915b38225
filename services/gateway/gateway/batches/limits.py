"""How much one batch may be, and how it is taken in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """How large a body may be, how long its lines, and how long its sender may be silent."""

    ndjson_bytes: int
    json_bytes: int
    line_bytes: int
    idle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How many lines a submission may have and how many errors are named; how many fetches are promised together, and how long
    it waits for room."""

    lines: int
    line_bytes: int
    errors: int
    chunk_fetches: int
    patience_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Both."""

    body: BodyLimits
    intake: BatchLimits
