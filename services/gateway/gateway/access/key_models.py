"""What operators send and are shown of API keys. A key itself is in one answer only: that to its making, or to its rotation."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from common.contracts.keys import (
    NAME_LIMIT_CHARACTERS,
    OVERLAP_DEFAULT_SECONDS,
    OVERLAP_LIMIT_SECONDS,
    KeyLimits,
    KeyRecord,
    Scope,
)
from common.contracts.tenants import DEFAULT_TENANT, KeyId, Tenant
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from gateway.models import STRICT, Time
from gateway.principal import Principal
from gateway.whole_numbers import read_whole

SUBMISSION_EXAMPLES: list[JsonValue] = [
    {"name": "the shop's crawler"},
    {
        "name": "nightly prices",
        "tenant": "acme",
        "scopes": ["fetch:write", "fetch:read"],
        "limits": {"requests_per_minute": 600, "fetches_per_minute": 6000, "queued_fetches": 100000},
        "expires_at": "2030-01-01T00:00:00Z",
    },
]
CHANGE_EXAMPLES: list[JsonValue] = [
    {"limits": {"fetches_per_minute": 12000}},
    {"name": "nightly prices, until the move", "expires_at": "2030-06-01T00:00:00Z"},
    {"limits": {"queued_fetches": None}, "expires_at": None},
]
ROTATION_EXAMPLES: list[JsonValue] = [{"overlap_seconds": 3600}, {"overlap_seconds": 0}]
KEY_EXAMPLE: dict[str, JsonValue] = {
    "id": "3vQB7B6MhGuX",
    "name": "nightly prices",
    "tenant": "acme",
    "state": "active",
    "scopes": ["fetch:read", "fetch:write"],
    "limits": {"requests_per_minute": 600, "fetches_per_minute": 6000, "queued_fetches": None},
    "created_at": "2026-12-24T18:00:00Z",
    "created_by": "key:0a1b2c3d",
    "expires_at": "2030-01-01T00:00:00Z",
    "links": {"self": "/v1/keys/3vQB7B6MhGuX", "rotate": "/v1/keys/3vQB7B6MhGuX/rotate"},
}
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LIMIT_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$")]
# Strictness would refuse the very text that JSON has for an enumeration.
ScopeList = Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=len(Scope))]
CALLER_SCOPES = [Scope.FETCH_WRITE, Scope.FETCH_READ, Scope.STORE_READ]


class KeyState(StrEnum):
    """Whether a key is good. A revoked one stays so; an expired one is good again with a later expiry."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class KeyLimitsSubmission(KeyLimits):
    """How much a key may ask for; unknown members are refused."""

    model_config = STRICT

    _read_whole = field_validator("*", mode="before")(read_whole)


class KeySubmission(BaseModel):
    """The body of `POST /v1/keys`: only `name` is required; unknown members are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": SUBMISSION_EXAMPLES})

    name: KeyName = Field(description="What it is for, for people: one line.")
    tenant: Tenant = Field(default=DEFAULT_TENANT, description="Whose fetches and batches it makes and sees.")
    scopes: ScopeList = Field(default=CALLER_SCOPES, description="What it may do; `admin`, for operators, includes no other.")
    limits: KeyLimitsSubmission = Field(default_factory=KeyLimitsSubmission, description="How much it may ask for.")
    expires_at: Time = Field(default=None, description="From then on it is good no more. RFC 3339 with an offset.")


class KeyChangeSubmission(BaseModel):
    """The body of `PATCH /v1/keys/{id}`, a merge patch (RFC 7396): absent stays, `null` takes an expiry or a limit away."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": CHANGE_EXAMPLES, "minProperties": 1}
    )

    name: KeyName | SkipJsonSchema[None] = Field(default=None, description="What it is for, for people: one line.")
    scopes: ScopeList | SkipJsonSchema[None] = Field(default=None, description="What it may do from now on.")
    limits: KeyLimitsSubmission | None = Field(default=None, description="How much it may ask for.")
    expires_at: Time = Field(default=None, description="From then on it is good no more. RFC 3339 with an offset.")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one of name, scopes, limits and expires_at")
        if any(getattr(self, member) is None for member in self.model_fields_set & {"name", "scopes"}):
            raise ValueError("name and scopes cannot be taken away; leave them out or give others")
        return self


class KeyRotationSubmission(BaseModel):
    """The body of `POST /v1/keys/{id}/rotate`, which may be left out; unknown members are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": ROTATION_EXAMPLES})

    overlap_seconds: float = Field(
        default=OVERLAP_DEFAULT_SECONDS,
        ge=0,
        le=OVERLAP_LIMIT_SECONDS,
        description="How long the secret so far stays good; 0 when it has leaked.",
    )


class KeyLinks(BaseModel):
    """Where to go from a key."""

    self_: str = Field(alias="self", serialization_alias="self")
    rotate: str


class KeyDocument(BaseModel):
    """One key, as operators see it: nothing of its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [KEY_EXAMPLE]})

    id: KeyId
    name: str
    tenant: Tenant
    state: KeyState
    scopes: list[Scope]
    limits: KeyLimits
    created_at: AwareDatetime
    created_by: str = Field(description="`key:` and what names the key that it was made with.")
    expires_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = Field(default=None, description="When it last got a new secret.")
    previous_until: AwareDatetime | None = Field(default=None, description="How long the secret before that is good.")
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = Field(default=None, description="To the minute or so; absent when it never was.")
    links: KeyLinks

    @classmethod
    def of(cls, record: KeyRecord, *, now: datetime) -> Self:
        """The document of a key as it is at `now`."""
        return cls(**_members(record, now=now))


class NewKeyDocument(KeyDocument):
    """A key with its secret, which nobody can show again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [KEY_EXAMPLE | {"secret": "ftch_live_3vQB7B6MhGuX_" + "x" * 43 + "000000"}]}
    )

    secret: str = Field(description="The whole key, for `Authorization: Bearer`. Keep it: it is shown this once.")

    @classmethod
    def with_secret(cls, record: KeyRecord, secret: str, *, now: datetime) -> Self:
        """The document of a key that was made or rotated just now."""
        return cls(**_members(record, now=now), secret=secret)


class KeyPageDocument(BaseModel):
    """Keys in the order of their ids. `next_cursor` is null on the last page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [KEY_EXAMPLE], "next_cursor": None}]})

    items: list[KeyDocument]
    next_cursor: str | None = None


class CallingKeyDocument(BaseModel):
    """The key that this request came with: what it is and may do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{name: KEY_EXAMPLE[name] for name in ("id", "name", "tenant", "scopes", "limits")}]}
    )

    id: KeyId | None = Field(default=None, description="Absent for the first key of the deployment, which no list has.")
    name: str
    tenant: Tenant
    scopes: list[Scope]
    limits: KeyLimits
    expires_at: AwareDatetime | None = Field(
        default=None, description="When this secret is good no more: the key expires, or the overlap of its rotation ends."
    )

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """The document of who asks."""
        return cls(
            id=principal.key_id,
            name=principal.name,
            tenant=principal.tenant,
            scopes=sorted(principal.scopes),
            limits=principal.limits,
            expires_at=principal.expires_at,
        )


def _members(record: KeyRecord, *, now: datetime) -> dict[str, object]:
    path = f"/v1/keys/{record.id}"
    shown = dict(record) | {"scopes": sorted(record.scopes), "state": _state(record, now=now)}
    return shown | {"links": KeyLinks(self=path, rotate=f"{path}/rotate")}


def _state(record: KeyRecord, *, now: datetime) -> KeyState:
    if record.revoked_at is not None:
        return KeyState.REVOKED
    return KeyState.EXPIRED if record.expires_at is not None and record.expires_at <= now else KeyState.ACTIVE
