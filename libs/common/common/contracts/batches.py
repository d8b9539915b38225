"""The words of a batch: several fetches submitted in one request, listed and counted together."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, Field

from common.contracts.envelope import Message
from common.contracts.tenants import DEFAULT_TENANT, KeyId, Tenant

BATCH_ERRORS_KEPT = 100
"""Refused lines that are kept with a batch; the answer to its submission names them all."""


class BatchError(Message):
    """One line that was refused: its number, from 1, and a problem document (RFC 9457)."""

    line: int = Field(ge=1)
    problem: dict[str, Any]


class AcceptedBatch(Message):
    """A submission of many lines has ended, and this much of it was promised.

    `is_whole` is False when the request broke off: its caller was promised nothing, what had been accepted is fetched anyway.
    """

    id: UUID
    tenant: Tenant = DEFAULT_TENANT
    key_id: KeyId | None = None
    accepted_at: AwareDatetime
    accepted: int = Field(ge=0)
    rejected: int = Field(ge=0)
    errors: tuple[BatchError, ...] = Field(default=(), max_length=BATCH_ERRORS_KEPT)
    is_whole: bool = True


class BatchCounts(Message):
    """Fetches of a batch by status."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0


class BatchView(Message):
    """One batch as a reader sees it. `total` counts accepted lines; `finished` is True once each of them is terminal."""

    id: UUID
    created_at: AwareDatetime
    total: int
    rejected: int = 0
    is_whole: bool = True
    counts: BatchCounts = BatchCounts()
    finished: bool = False
    errors: list[BatchError] = Field(default_factory=list, description="The first refused lines.")
