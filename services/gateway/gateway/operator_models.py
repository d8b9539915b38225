"""What operators send and are shown: hosts and their overrides, messages that could not be applied, and the audit log."""

from typing import Annotated, Literal, Self
from urllib.parse import quote

from common.contracts.audit import OperationView, RefusalView
from common.contracts.dead_letters import DeadLetterView
from common.contracts.hosts import HostChange, HostState, HostView
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator

from gateway.whole_numbers import read_whole

CHANGE_EXAMPLES: list[JsonValue] = [
    {"state": "paused", "reason": "their maintenance window", "expires_in_seconds": 3600},
    {"delay_ms": 2000, "max_in_flight": 1},
    {"state": "open", "delay_ms": None},
]
CHANGES_SOMETHING: JsonValue = [{"required": [member]} for member in ("state", "delay_ms", "max_in_flight")]
HOST_EXAMPLES: list[JsonValue] = [
    {
        "host": "example.com",
        "state": "paused",
        "pace": {"rule": "robots", "delay_ms": 1000, "max_in_flight": 1},
        "backlog": 12,
        "in_flight": 0,
        "counted_up_to": 1000,
        "crawl_delay_seconds": 1.0,
        "override": {
            "state": "paused", "reason": "their maintenance window", "actor": "key:0a1b2c3d", "expires_at": "2026-12-24T18:00:00Z"
        },
        "links": {"self": "/v1/hosts/example.com"},
    }
]
DEAD_LETTER_EXAMPLES: list[JsonValue] = [
    {
        "id": 7,
        "stream": "fetchwork:fetch.attempted",
        "entry_id": "1732400000000-0",
        "reason": "ValidationError",
        "created_at": "2026-12-24T18:00:00Z",
        "size_bytes": 512,
        "text": "{\"specversion\": \"1.0\"}",
        "links": {"redrive": "/v1/dead-letters/7/redrive"},
    }
]
OPERATION_EXAMPLES: list[JsonValue] = [
    {
        "kind": "operation",
        "id": 12,
        "at": "2026-12-24T18:00:00Z",
        "actor": "key:0a1b2c3d",
        "action": "key.revoke",
        "subject": "3vQB7B6MhGuX",
        "detail": {"before": {"name": "prices"}, "after": {"name": "prices", "revoked_at": "2026-12-24T18:00:00Z"}},
    }
]
REFUSAL_EXAMPLES: list[JsonValue] = [
    {
        "kind": "refusal",
        "id": 7,
        "at": "2026-12-24T18:00:00Z",
        "fetch_id": "019b4f2e-5a3c-7d10-8f6e-2b1a9c0d3e4f",
        "attempt": 1,
        "host": "internal.example",
        "verdict": "deny_private",
        "addresses": ["10.0.0.1"],
    }
]


class HostChangeSubmission(HostChange):
    """The body of `PATCH /v1/hosts/{host}`, a merge patch (RFC 7396): absent stays, `null` takes an override back.

    Unknown members are refused.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": CHANGE_EXAMPLES, "anyOf": CHANGES_SOMETHING}
    )

    _read_whole = field_validator("delay_ms", "max_in_flight", mode="before")(read_whole)

    # Strictness would refuse the very text that JSON has for an enumeration.
    state: Annotated[HostState, Field(strict=False)] | None = Field(
        default=None, description="`paused` and `banned` last until `open` or the expiry."
    )
    reason: Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = Field(
        default=None, description="Why, for whoever looks next: one line."
    )


class HostLinks(BaseModel):
    """Where to go from a host."""

    self_: str = Field(alias="self", serialization_alias="self")


class HostDocument(HostView):
    """One host, as the public API shows it."""

    model_config = ConfigDict(json_schema_extra={"examples": HOST_EXAMPLES})

    links: HostLinks

    @classmethod
    def of(cls, view: HostView) -> Self:
        """The document of a view."""
        return cls(**dict(view), links=HostLinks(self=f"/v1/hosts/{quote(view.host, safe=':')}"))


class HostPageDocument(BaseModel):
    """Hosts in the order of their names. `next_cursor` is null on the last page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": HOST_EXAMPLES, "next_cursor": None}]})

    items: list[HostDocument]
    next_cursor: str | None = None


class DeadLetterLinks(BaseModel):
    """Where to go from a dead letter."""

    redrive: str


class DeadLetterDocument(DeadLetterView):
    """One parked message, as the public API shows it."""

    model_config = ConfigDict(json_schema_extra={"examples": DEAD_LETTER_EXAMPLES})

    links: DeadLetterLinks

    @classmethod
    def of(cls, view: DeadLetterView) -> Self:
        """The document of a view."""
        return cls(**dict(view), links=DeadLetterLinks(redrive=f"/v1/dead-letters/{view.id}/redrive"))


class DeadLetterPageDocument(BaseModel):
    """Parked messages, the newest first. `next_cursor` is null on the last page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": DEAD_LETTER_EXAMPLES, "next_cursor": None}]})

    items: list[DeadLetterDocument]
    next_cursor: str | None = None


class OperationDocument(OperationView):
    """One thing that an operator did, as the public API shows it."""

    model_config = ConfigDict(json_schema_extra={"examples": OPERATION_EXAMPLES})

    kind: Literal["operation"] = "operation"


class RefusalDocument(RefusalView):
    """One target that was refused, as the public API shows it to operators."""

    model_config = ConfigDict(json_schema_extra={"examples": REFUSAL_EXAMPLES})

    kind: Literal["refusal"] = "refusal"


class AuditPageDocument(BaseModel):
    """Entries of one log, the newest first. `next_cursor` is null on the last page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": OPERATION_EXAMPLES, "next_cursor": None}]})

    items: list[OperationDocument | RefusalDocument]
    next_cursor: str | None = None
