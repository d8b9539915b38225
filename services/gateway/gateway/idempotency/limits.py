"""How much is remembered about requests with an Idempotency-Key, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLimits:
    """Bounds of the records: seconds for times, bytes for sizes. The settings start from these.

    `records` counts the keys of the events Redis, which are records but for a few. From half of it on new records live for
    `short_retention_seconds` only; at the limit none is made.
    """

    retention_seconds: int = 24 * 3600
    short_retention_seconds: int = 600
    records: int = 1_000_000
    lease_seconds: int = 30
    answer_bytes: int = 64 * 1024
    answers_of_tenant_bytes: int = 32 * 1024 * 1024


STANDARD = RecordLimits()
