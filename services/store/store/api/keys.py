"""Internal: API keys, as gateways follow them and operators manage them. Digests alone pass here, never a key."""

from typing import Annotated

from common.contracts.keys import (
    ACTOR_LIMIT_CHARACTERS,
    CHANGES_LIMIT,
    KeyChanges,
    KeyCreation,
    KeyOperation,
    KeyPage,
    KeyRecord,
    KeyRotation,
    KeyUses,
)
from common.contracts.tenants import KeyId, Tenant
from fastapi import APIRouter, Depends, HTTPException, Query, Response

from store.api.access import Access, get_access
from store.database import in_transaction
from store.keys.operate import change_key, create_key, revoke_key, rotate_key
from store.keys.read import read_changes, read_key, read_keys
from store.keys.use import note_uses

KEYS_LIMIT = 200
KEYS_DEFAULT = 50
REVISION_LIMIT = 2**63 - 1
UseAccess = Annotated[Access, Depends(get_access)]

router = APIRouter(prefix="/internal/v1/keys")


@router.get("")
async def list_changes(
    access: UseAccess,
    after_revision: Annotated[int, Query(ge=0, le=REVISION_LIMIT)],
    limit: Annotated[int, Query(ge=1, le=CHANGES_LIMIT)] = CHANGES_LIMIT,
) -> KeyChanges:
    """Keys that changed after that revision, revoked ones too, in the order of their changes."""
    return await read_changes(access.pool, after_revision=after_revision, limit=limit)


@router.get("/page")
async def list_keys(
    access: UseAccess,
    tenant: Tenant | None = None,
    limit: Annotated[int, Query(ge=1, le=KEYS_LIMIT)] = KEYS_DEFAULT,
    after: Annotated[str, Query(max_length=12)] = "",
) -> KeyPage:
    """Keys in the order of their ids, of one tenant or of all, from the one after `after` on."""
    return await read_keys(access.pool, tenant=tenant, limit=limit, after=after)


@router.post("/used", status_code=204)
async def report_uses(uses: KeyUses, access: UseAccess) -> None:
    """Note when keys were last used."""
    await note_uses(access.pool, uses.uses)


@router.get("/{key_id}")
async def get_key(key_id: KeyId, access: UseAccess) -> KeyRecord:
    """One key, or 404."""
    return _found(await read_key(access.pool, key_id))


@router.put("/{key_id}", status_code=201)
async def put_key(key_id: KeyId, creation: KeyCreation, access: UseAccess, response: Response) -> KeyRecord:
    """A new key: 201, and 200 when it is there already. 409 when another key has this id."""
    record, is_new = await in_transaction(access.pool, lambda c: create_key(c, key_id, creation, now=None))
    if record.digest != creation.digest:
        raise HTTPException(409, "another key has this id")
    response.status_code = 201 if is_new else 200
    return record


@router.patch("/{key_id}")
async def patch_key(key_id: KeyId, operation: KeyOperation, access: UseAccess, response: Response) -> KeyRecord:
    """Change what an operator may change about a key. 409 with the key as it is when it is revoked."""
    record = _found(await in_transaction(access.pool, lambda c: change_key(c, key_id, operation, now=None)))
    response.status_code = 200 if record.revoked_at is None else 409
    return record


@router.put("/{key_id}/digest")
async def put_digest(key_id: KeyId, rotation: KeyRotation, access: UseAccess, response: Response) -> KeyRecord:
    """Give a key a new digest; the one before is good until the overlap ends. 409 with the key as it is when it is revoked."""
    record = _found(await in_transaction(access.pool, lambda c: rotate_key(c, key_id, rotation, now=None)))
    response.status_code = 200 if record.revoked_at is None else 409
    return record


@router.delete("/{key_id}")
async def delete_key(
    key_id: KeyId, actor: Annotated[str, Query(min_length=1, max_length=ACTOR_LIMIT_CHARACTERS)], access: UseAccess
) -> KeyRecord:
    """Revoke a key; its row stays. Repeating it changes nothing."""
    return _found(await in_transaction(access.pool, lambda c: revoke_key(c, key_id, actor=actor, now=None)))


def _found(record: KeyRecord | None) -> KeyRecord:
    if record is None:
        raise HTTPException(404, "unknown key")
    return record
