"""Keys as rows of `api_keys`, and back."""

from typing import Any

import asyncpg
from common.contracts.keys import KeyLimits, KeyRecord


def record_of_row(row: asyncpg.Record) -> KeyRecord:
    """The key of a row of `api_keys`."""
    return KeyRecord(
        id=row["id"],
        tenant=row["tenant"],
        name=row["name"],
        scopes=row["scopes"],
        limits=KeyLimits(
            requests_per_minute=row["requests_per_minute"],
            fetches_per_minute=row["fetches_per_minute"],
            queued_fetches=row["queued_fetches"],
        ),
        digest=row["digest"].hex(),
        previous_digest=row["previous_digest"].hex() if row["previous_digest"] is not None else None,
        previous_until=row["previous_until"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        rotated_at=row["rotated_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        revision=row["revision"],
    )


def written(record: KeyRecord) -> tuple[Any, ...]:
    """The arguments of `keys_write`: the key's id, and all that a change may touch."""
    return (
        record.id,
        record.name,
        sorted(record.scopes),
        bytes.fromhex(record.digest),
        bytes.fromhex(record.previous_digest) if record.previous_digest is not None else None,
        record.previous_until,
        record.limits.requests_per_minute,
        record.limits.fetches_per_minute,
        record.limits.queued_fetches,
        record.expires_at,
        record.rotated_at,
        record.revoked_at,
    )
