"""What a reader of one fetch is shown: the store's internal answer, which the gateway passes on with links."""

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, Field, JsonValue

from common.contracts.envelope import Message
from common.contracts.fetches import (
    PRIORITY_DEFAULT,
    Budget,
    CharsetSource,
    Digest,
    ErrorType,
    FetchError,
    FetchStatus,
    OutcomeKind,
    Redirect,
    RobotsEvidence,
)


class WaitingReason(StrEnum):
    """What a pending fetch waits for."""

    QUEUE = "queue"
    DELAY = "delay"
    RETRY = "retry"
    NO_FETCHER = "no_fetcher"
    COALESCED = "coalesced"
    HOST_PACE = "host_pace"
    HOST_PAUSED = "host_paused"
    BREAKER = "breaker"


class Waiting(Message):
    """Why a pending fetch is not running, and the earliest time that may change (absent when unknown)."""

    reason: WaitingReason
    until: AwareDatetime | None = None


class ResponseView(Message):
    """The kept response. `size_bytes` counts decoded bytes; `digest` is of those bytes and absent when there is no body.

    Header names are in lower case. The values of a repeated header are joined by a comma (RFC 9110 section 5.3), those of
    `set-cookie`, which may hold commas, by a line feed.
    """

    status: int
    headers: dict[str, str] = Field(default_factory=dict)
    media_type: str | None = Field(default=None, description="The declared media type.")
    detected_media_type: str | None = Field(default=None, description="The media type that the first bytes show.")
    charset: str | None = Field(default=None, description="The charset that decodes a text body.")
    charset_source: CharsetSource | None = Field(default=None, description="What the charset was read from.")
    coding: str | None = Field(default=None, description="The content coding that was undone; the kept bytes are decoded.")
    redirects: list[Redirect] = Field(default_factory=list, description="The redirects that were followed, in order.")
    size_bytes: int = 0
    digest: Digest | None = None
    final_url: str


class HopView(Message):
    """One exchange of an attempt. Addresses are shown of public targets only; those that were refused are in the audit log."""

    url: str
    method: str = "GET"
    verdict: str
    via_proxy: bool = False
    addresses: list[str] = Field(default_factory=list, description="What the name resolved to.")
    peer: str | None = Field(default=None, description="The address that was dialled.")
    is_reused: bool = Field(default=False, description="Whether an open connection was used again.")
    status: int | None = None


class EvidenceView(Message):
    """What an attempt really did on the wire. Durations in seconds over all hops, sizes in bytes."""

    hops: list[HopView] = Field(default_factory=list)
    robots: RobotsEvidence | None = None
    exceeded: Budget | None = Field(default=None, description="The limit that ended the attempt.")
    dns_seconds: float = 0.0
    connect_seconds: float = 0.0
    first_byte_seconds: float = 0.0
    body_seconds: float = 0.0
    total_seconds: float = 0.0
    tls_version: str | None = None
    wire_bytes: int = 0
    decoded_bytes: int = 0


class AttemptView(Message):
    """One recorded attempt. Numbers follow dispatches, so a gap is a dispatch whose worker never reported."""

    number: int
    outcome: OutcomeKind
    started_at: AwareDatetime
    finished_at: AwareDatetime
    status: int | None = None
    error: ErrorType | None = None
    seconds: float
    hops: list[str] = Field(default_factory=list, description="The URLs dialled, in order; what came of each is in the evidence.")
    evidence: EvidenceView = EvidenceView()


class ServedByKind(StrEnum):
    """How a fetch came by its response. The value is a metric label."""

    LIVE = "live"
    CACHE = "cache"
    COALESCED = "coalesced"
    NOT_MODIFIED = "not_modified"


class ServedBy(Message):
    """Where the response came from: the fetch whose exchange brought the content, and how old that was when this one finished.

    An answer `not_modified` was confirmed by the origin just now, so its age is 0.
    """

    kind: ServedByKind = ServedByKind.LIVE
    fetch_id: UUID
    age_seconds: float = 0.0


class FetchView(Message):
    """One fetch as a reader sees it."""

    id: UUID
    url: str
    method: str = "GET"
    at_most_once: bool = Field(default=False, description="The method is not idempotent: there is one attempt and no retry.")
    status: FetchStatus
    priority: int = PRIORITY_DEFAULT
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(default=None, description="No attempt starts from then on.")
    finished_at: AwareDatetime | None = None
    waiting: Waiting | None = None
    response: ResponseView | None = None
    error: FetchError | None = None
    attempts: list[AttemptView] = Field(default_factory=list)
    served_by: ServedBy | None = None
    batch_id: UUID | None = Field(default=None, description="The batch that it came with.")
    labels: list[str] = Field(default_factory=list)
    attrs: dict[str, JsonValue] = Field(default_factory=dict, description="What the caller noted; it comes back as it was.")


class FetchPage(Message):
    """Fetches, the newest first. `next_cursor` is absent on the last page."""

    items: list[FetchView]
    next_cursor: str | None = None
