"""What operators do to keys: one at a time under an advisory lock, each with the next revision and a line in the operators' log.

All of it is idempotent: what is done again writes nothing and is not noted again. A revoked key stays as it is.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from common.contracts.keys import KeyChange, KeyCreation, KeyLimits, KeyOperation, KeyRecord, KeyRotation

from store.database import Connection
from store.keys.rows import record_of_row, written
from store.operator_log import log_operation
from store.queries import query

LOCK = query("keys_lock")
LOCK_KEY = 0x6B657973  # "keys"
INSERT = query("keys_insert")
ONE = query("keys_one")
WRITE = query("keys_write")

Step = Callable[[KeyRecord, datetime], KeyRecord]


async def create_key(
    connection: Connection, key_id: str, creation: KeyCreation, *, now: datetime | None
) -> tuple[KeyRecord, bool]:
    """The key of that id, and whether it is new; one that was there is left as it is, whatever it may be."""
    await connection.execute(LOCK, LOCK_KEY)
    limits = creation.limits
    row = await connection.fetchrow(
        INSERT,
        key_id,
        creation.tenant,
        creation.name,
        sorted(creation.scopes),
        bytes.fromhex(creation.digest),
        limits.requests_per_minute,
        limits.fetches_per_minute,
        limits.queued_fetches,
        creation.actor,
        creation.expires_at,
        now,
    )
    if row is None:
        return record_of_row(await connection.fetchrow(ONE, key_id, now)), False
    record = record_of_row(row)
    detail = {"tenant": record.tenant, **_shown(record)}
    await log_operation(connection, actor=creation.actor, action="key.create", subject=key_id, detail=detail, now=now)
    return record, True


async def change_key(connection: Connection, key_id: str, operation: KeyOperation, *, now: datetime | None) -> KeyRecord | None:
    """The key after a change, or as it was revoked; None when there is none of this id."""
    return await _operate(
        connection, key_id, lambda record, _: changed(record, operation.change), operation.actor, "key.change", now=now
    )


async def rotate_key(connection: Connection, key_id: str, rotation: KeyRotation, *, now: datetime | None) -> KeyRecord | None:
    """The key under its new digest, or as it was revoked; None when there is none of this id."""
    return await _operate(
        connection, key_id, lambda record, at: rotated(record, rotation, now=at), rotation.actor, "key.rotate", now=now
    )


async def revoke_key(connection: Connection, key_id: str, *, actor: str, now: datetime | None) -> KeyRecord | None:
    """The key, which nobody may use any more; None when there is none of this id."""
    return await _operate(connection, key_id, lambda record, at: revoked(record, now=at), actor, "key.revoke", now=now)


def changed(record: KeyRecord, change: KeyChange) -> KeyRecord:
    """The key after a change. Absent members stay, also single limits; `null` takes an expiry or a limit away. Pure."""
    given = change.model_fields_set
    update: dict[str, Any] = {}
    if change.name is not None:
        update["name"] = change.name
    if change.scopes is not None:
        update["scopes"] = change.scopes
    if "expires_at" in given:
        update["expires_at"] = change.expires_at
    if "limits" in given:
        limits = change.limits
        update["limits"] = record.limits.model_copy(update=limits.model_dump(exclude_unset=True)) if limits else KeyLimits()
    return record.model_copy(update=update)


def rotated(record: KeyRecord, rotation: KeyRotation, *, now: datetime) -> KeyRecord:
    """The key with a new digest; of those before only the last is good, until the overlap ends. Pure."""
    if rotation.digest == record.digest:
        return record
    has_overlap = rotation.overlap_seconds > 0
    update = {
        "digest": rotation.digest,
        "previous_digest": record.digest if has_overlap else None,
        "previous_until": now + timedelta(seconds=rotation.overlap_seconds) if has_overlap else None,
        "rotated_at": now,
    }
    return record.model_copy(update=update)


def revoked(record: KeyRecord, *, now: datetime) -> KeyRecord:
    """The key as nobody may use it any more. Pure."""
    return record.model_copy(update={"revoked_at": now})


async def _operate(
    connection: Connection, key_id: str, step: Step, actor: str, action: str, *, now: datetime | None
) -> KeyRecord | None:
    """Take one step with one key, in the caller's transaction."""
    await connection.execute(LOCK, LOCK_KEY)
    row = await connection.fetchrow(ONE, key_id, now)
    if row is None:
        return None
    before = record_of_row(row)
    after = step(before, row["now"]) if before.revoked_at is None else before
    if after == before:
        return before
    after = record_of_row(await connection.fetchrow(WRITE, *written(after)))
    detail = {"before": _shown(before), "after": _shown(after)}
    await log_operation(connection, actor=actor, action=action, subject=key_id, detail=detail, now=now)
    return after


def _shown(record: KeyRecord) -> Mapping[str, Any]:
    """What a change may touch, as the log has it: no digest."""
    names = {"name", "scopes", "limits", "expires_at", "previous_until", "rotated_at", "revoked_at"}
    shown = record.model_dump(mode="json", include=names, exclude_none=True)
    return {**shown, "scopes": sorted(shown["scopes"])}
