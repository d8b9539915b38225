"""API keys between gateway and store: what a key may do and how much, never its secret."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from common.contracts.envelope import Message
from common.contracts.tenants import KeyId, Tenant

NAME_LIMIT_CHARACTERS = 100
PER_MINUTE_LIMIT = 100_000_000
QUEUED_LIMIT = 1_000_000_000


class Scope(StrEnum):
    """What a key may do. `admin` is for operators: hosts, dead letters, keys of all tenants, the audit log."""

    FETCH_WRITE = "fetch:write"
    FETCH_READ = "fetch:read"
    STORE_READ = "store:read"
    ADMIN = "admin"


class KeyLimits(Message):
    """How much a key may ask for; a member that is absent sets no limit."""

    requests_per_minute: int | None = Field(default=None, ge=1, le=PER_MINUTE_LIMIT, description="Requests of any kind.")
    fetches_per_minute: int | None = Field(default=None, ge=1, le=PER_MINUTE_LIMIT, description="Fetches accepted.")
    queued_fetches: int | None = Field(
        default=None, ge=1, le=QUEUED_LIMIT, description="Fetches accepted and not finished, at most at once."
    )


class KeyRecord(Message):
    """One key as gateways know it: enough to recognise it and to bound it. Digests are SHA-256 of the secret, in hexadecimal.

    After a rotation the previous secret is good until `previous_until`. `revision` grows with each change of any key.
    """

    id: KeyId
    tenant: Tenant
    name: str = Field(max_length=NAME_LIMIT_CHARACTERS)
    scopes: frozenset[Scope]
    limits: KeyLimits = KeyLimits()
    digest: str
    previous_digest: str | None = None
    previous_until: AwareDatetime | None = None
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    revision: int
