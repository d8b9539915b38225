"""API keys between gateway and store: what a key may do and how much, never its secret."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints

from common.contracts.envelope import Message
from common.contracts.tenants import KeyId, Tenant

KEY_START = "ftch_"
"""How every key begins: what has none of it holds no key."""
KEY_FORM = KEY_START + r"[a-z0-9]{1,16}_[0-9A-Za-z]{12}_[0-9A-Za-z_-]{43}[0-9A-Za-z]{6}"
"""How every key looks, for logs and scanners: environment, id, 256 bits in base64url, CRC32 in base62."""
NAME_LIMIT_CHARACTERS = 100
ACTOR_LIMIT_CHARACTERS = 200
CHANGES_LIMIT = 1000
USES_LIMIT = 1000
OVERLAP_DEFAULT_SECONDS = 24 * 3600.0
OVERLAP_LIMIT_SECONDS = 30 * 24 * 3600.0
PER_MINUTE_LIMIT = 100_000_000
QUEUED_LIMIT = 1_000_000_000


class Scope(StrEnum):
    """What a key may do. `admin` is for operators: hosts, dead letters, keys of all tenants, the audit log."""

    FETCH_WRITE = "fetch:write"
    FETCH_READ = "fetch:read"
    STORE_READ = "store:read"
    ADMIN = "admin"


def _known(scopes: Any) -> Any:
    """Without what a later release lets keys do: this one cannot grant it, and the key is good for the rest."""
    return [scope for scope in scopes if scope in list(Scope)]


KnownScopes = Annotated[frozenset[Scope], BeforeValidator(_known)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a whole key as it is sent, in hexadecimal."""


class KeyLimits(Message):
    """How much a key may ask for; a member that is absent sets no limit."""

    requests_per_minute: int | None = Field(default=None, ge=1, le=PER_MINUTE_LIMIT, description="Requests of any kind.")
    fetches_per_minute: int | None = Field(default=None, ge=1, le=PER_MINUTE_LIMIT, description="Fetches accepted.")
    queued_fetches: int | None = Field(
        default=None, ge=1, le=QUEUED_LIMIT, description="Fetches accepted and not finished, at most at once."
    )


class KeyRecord(Message):
    """One key as gateways know it: enough to recognise it and to bound it.

    After a rotation the previous digest is good until `previous_until`. `revision` grows with each change of any key.
    """

    id: KeyId
    tenant: Tenant
    name: str = Field(max_length=NAME_LIMIT_CHARACTERS)
    scopes: KnownScopes
    limits: KeyLimits = KeyLimits()
    digest: Digest
    previous_digest: Digest | None = None
    previous_until: AwareDatetime | None = None
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    revision: int


class KeyChanges(Message):
    """Keys in the order of their latest change. `latest_revision` is of all keys: while it is beyond theirs there is more."""

    keys: list[KeyRecord]
    latest_revision: int


class KeyPage(Message):
    """Keys in the order of their ids. `next_cursor` is absent on the last page."""

    items: list[KeyRecord]
    next_cursor: str | None = None


class KeyCreation(Message):
    """A key that shall be, under an id and a digest that the gateway made, with who wants it."""

    actor: str = Field(max_length=ACTOR_LIMIT_CHARACTERS)
    tenant: Tenant
    name: str = Field(max_length=NAME_LIMIT_CHARACTERS)
    scopes: frozenset[Scope]
    limits: KeyLimits = KeyLimits()
    digest: Digest
    expires_at: AwareDatetime | None = None


class KeyChange(Message):
    """What an operator changes about a key: absent members stay, also single limits; `null` takes an expiry or a limit away."""

    name: str | None = Field(default=None, max_length=NAME_LIMIT_CHARACTERS)
    scopes: frozenset[Scope] | None = None
    limits: KeyLimits | None = None
    expires_at: AwareDatetime | None = None


class KeyOperation(Message):
    """A change with its author, as the gateway hands it to the store."""

    actor: str = Field(max_length=ACTOR_LIMIT_CHARACTERS)
    change: KeyChange


class KeyRotation(Message):
    """A new digest for a key, with its author; the one before is good for `overlap_seconds` more."""

    actor: str = Field(max_length=ACTOR_LIMIT_CHARACTERS)
    digest: Digest
    overlap_seconds: float = Field(default=OVERLAP_DEFAULT_SECONDS, ge=0, le=OVERLAP_LIMIT_SECONDS)


class KeyUse(Message):
    """When a key was last used, as far as one gateway knows."""

    id: KeyId
    at: AwareDatetime


class KeyUses(Message):
    """What one gateway tells of keys that were used lately."""

    uses: list[KeyUse] = Field(max_length=USES_LIMIT)
