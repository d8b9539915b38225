"""API keys: make, list, change, rotate and revoke them. Keys are made here, and the store is told their digests alone.

Operator routes: an `admin` key manages the keys of all tenants.
"""

from datetime import datetime
from typing import Annotated

from common.contracts.keys import KeyChange, KeyCreation, KeyOperation, KeyRecord, KeyRotation, Scope
from common.contracts.tenants import Tenant
from fastapi import APIRouter, Body, Query, Response

from gateway.access.api_keys import make_key, new_key_id, new_secret
from gateway.access.key_models import (
    ROTATION_EXAMPLES,
    KeyChangeSubmission,
    KeyDocument,
    KeyPageDocument,
    KeyRotationSubmission,
    KeySubmission,
    NewKeyDocument,
)
from gateway.dependencies import UseMeans, UsePrincipal, requires
from gateway.http.answers import answer
from gateway.http.cursors import LIMIT_DEFAULT, LIMIT_MAX, next_link, read_cursor, write_cursor
from gateway.http.parameters import KeyId
from gateway.openapi.headers import ResponseHeader
from gateway.openapi.responses import problem_responses, response
from gateway.problems.answers import Problem, ProblemType

PATH = "/v1/keys"
MERGE_PATCH = {"application/merge-patch+json": {"schema": {"$ref": "#/components/schemas/KeyChangeSubmission"}}}
NOT_STORED = {"Cache-Control": "no-store"}

router = APIRouter(prefix=PATH, tags=["keys"], dependencies=[requires(Scope.ADMIN)])


@router.post(
    "",
    status_code=201,
    operation_id="createKey",
    response_model=NewKeyDocument,
    responses=response(201, "The key, with its secret.", ResponseHeader.LOCATION)
    | problem_responses(ProblemType.STORE_UNAVAILABLE),
)
async def create_key(submission: KeySubmission, means: UseMeans, principal: UsePrincipal) -> Response:
    """Make a key. Its `secret` is in this answer and nowhere else; it is good at once, on every gateway."""
    now = means.clock()
    _check_expiry(submission.expires_at, now=now)
    key = make_key(new_key_id(), new_secret(), environment=means.key_environment)
    creation = KeyCreation(
        actor=principal.actor,
        tenant=submission.tenant,
        name=submission.name,
        scopes=frozenset(submission.scopes),
        limits=submission.limits,
        digest=key.digest,
        expires_at=submission.expires_at,
    )
    record = await means.store.create_key(key.id, creation)
    means.key_ring.take(record)
    headers = NOT_STORED | {"Location": f"{PATH}/{key.id}"}
    return answer(NewKeyDocument.with_secret(record, key.text, now=now), status=201, headers=headers)


@router.get(
    "",
    operation_id="listKeys",
    response_model=KeyPageDocument,
    responses=response(200, "One page of keys.", ResponseHeader.LINK)
    | problem_responses(ProblemType.CURSOR_MISMATCH, ProblemType.STORE_UNAVAILABLE),
)
async def list_keys(
    means: UseMeans,
    tenant: Annotated[Tenant | None, Query(description="Only keys of this tenant.")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Keys on a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, with the same `tenant`.")] = None,
) -> Response:
    """Keys in the order of their ids, revoked ones too; `Link` leads to the next page (RFC 8288), as `next_cursor` does."""
    of = f"keys?tenant={tenant or ''}"
    page = await means.store.list_keys(tenant=tenant, limit=limit, after=read_cursor(cursor, of=of))
    following = write_cursor(page.next_cursor, of=of) if page.next_cursor is not None else None
    link = {"Link": next_link(PATH, cursor=following, limit=limit, filters={"tenant": tenant})} if following else {}
    now = means.clock()
    document = KeyPageDocument(items=[KeyDocument.of(record, now=now) for record in page.items], next_cursor=following)
    return answer(document, headers=NOT_STORED | link)


@router.get(
    "/{key_id}",
    operation_id="getKey",
    response_model=KeyDocument,
    responses=response(200, "The key as it is now.") | problem_responses(ProblemType.STORE_UNAVAILABLE),
)
async def get_key(key_id: KeyId, means: UseMeans) -> Response:
    """One key: what it may do, until when, and when it was last used."""
    record = _found(await means.store.read_key(key_id))
    return answer(KeyDocument.of(record, now=means.clock()), headers=NOT_STORED)


@router.patch(
    "/{key_id}",
    operation_id="changeKey",
    response_model=KeyDocument,
    responses=response(200, "The key as it is from now on.")
    | problem_responses(ProblemType.KEY_REVOKED, ProblemType.STORE_UNAVAILABLE),
    openapi_extra={"requestBody": {"content": MERGE_PATCH}},
)
async def change_key(key_id: KeyId, change: KeyChangeSubmission, means: UseMeans, principal: UsePrincipal) -> Response:
    """Change a key; its secret stays, and every gateway knows within seconds.

    A merge patch (RFC 7396): members that are absent stay as they are, `null` takes an expiry or a limit away.
    """
    now = means.clock()
    _check_expiry(change.expires_at, now=now)
    given = KeyChange.model_validate(change.model_dump(exclude_unset=True))
    record = _in_force(await means.store.change_key(key_id, KeyOperation(actor=principal.actor, change=given)))
    means.key_ring.take(record)
    return answer(KeyDocument.of(record, now=now), headers=NOT_STORED)


@router.post(
    "/{key_id}/rotate",
    operation_id="rotateKey",
    response_model=NewKeyDocument,
    responses=response(200, "The key, with its new secret.")
    | problem_responses(ProblemType.KEY_REVOKED, ProblemType.STORE_UNAVAILABLE),
)
async def rotate_key(
    key_id: KeyId,
    means: UseMeans,
    principal: UsePrincipal,
    rotation: Annotated[KeyRotationSubmission | None, Body(examples=ROTATION_EXAMPLES)] = None,
) -> Response:
    """Give a key a new `secret`, shown this once; the one so far stays good for `overlap_seconds`, those before it end now."""
    overlap_seconds = (rotation or KeyRotationSubmission()).overlap_seconds
    key = make_key(key_id, new_secret(), environment=means.key_environment)
    told = KeyRotation(actor=principal.actor, digest=key.digest, overlap_seconds=overlap_seconds)
    record = _in_force(await means.store.rotate_key(key_id, told))
    means.key_ring.take(record)
    return answer(NewKeyDocument.with_secret(record, key.text, now=means.clock()), headers=NOT_STORED)


@router.delete(
    "/{key_id}",
    operation_id="revokeKey",
    response_model=KeyDocument,
    responses=response(200, "The key is revoked.") | problem_responses(ProblemType.STORE_UNAVAILABLE),
)
async def revoke_key(key_id: KeyId, means: UseMeans, principal: UsePrincipal) -> Response:
    """Revoke a key for good: refused here from now on, and within 30 seconds everywhere. Repeating it changes nothing."""
    record = _found(await means.store.revoke_key(key_id, actor=principal.actor))
    means.key_ring.take(record)
    return answer(KeyDocument.of(record, now=means.clock()), headers=NOT_STORED)


def _found(record: KeyRecord | None) -> KeyRecord:
    if record is None:
        raise Problem(ProblemType.NOT_FOUND, "No key has this id.")
    return record


def _in_force(record: KeyRecord | None) -> KeyRecord:
    """What was changed, unless it could not be."""
    if _found(record).revoked_at is not None:
        raise Problem(ProblemType.KEY_REVOKED, "The key is revoked and stays as it is; make another one.")
    return _found(record)


def _check_expiry(expires_at: datetime | None, *, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise Problem.of_members([("expires_at", "This time has passed; revoke a key to end it now.")])
