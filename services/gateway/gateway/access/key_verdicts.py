"""Whether who came with a key is let in, and as whom: the one place where a key is judged. Pure."""

import hmac
from datetime import datetime

from common.contracts.keys import KeyRecord

from gateway.metrics import KeyRefusal
from gateway.principal import Principal

NO_DIGEST = "0" * 64
"""Compared with where there is nothing to compare with."""


def judge_key(record: KeyRecord | None, digest: str, *, now: datetime) -> Principal | KeyRefusal:
    """Who comes with a key of this digest, or why it is refused. Pure; compares the same whether there is a record or not."""
    is_current = hmac.compare_digest(digest, record.digest if record is not None else NO_DIGEST)
    previous = record.previous_digest if record is not None else None
    is_previous = hmac.compare_digest(digest, previous or NO_DIGEST)
    if record is None:
        return KeyRefusal.UNKNOWN
    if not is_current and not is_previous:
        return KeyRefusal.WRONG
    if record.revoked_at is not None:
        return KeyRefusal.REVOKED
    ends = [at for at in (record.expires_at, None if is_current else record.previous_until) if at is not None]
    if any(at <= now for at in ends):
        return KeyRefusal.EXPIRED
    return Principal(
        actor=f"key:{record.id}",
        tenant=record.tenant,
        key_id=record.id,
        name=record.name,
        scopes=record.scopes,
        limits=record.limits,
        expires_at=min(ends, default=None),
        digest=digest,
    )
