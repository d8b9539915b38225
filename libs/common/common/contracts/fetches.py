"""The words of a fetch: what is asked, what is sent to a worker, what an attempt came to."""

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from common.contracts.envelope import Message

TIMEOUT_DEFAULT_SECONDS = 30.0
TIMEOUT_LIMIT_SECONDS = 60.0
BODY_DEFAULT_BYTES = 10 * 1024 * 1024
BODY_LIMIT_BYTES = 64 * 1024 * 1024
DELAY_LIMIT_SECONDS = 30 * 24 * 3600.0
INLINE_BODY_LIMIT_BYTES = 256 * 1024
"""Compressed bodies up to this size travel inside `fetch.attempted.v1`; larger ones go to the store's content endpoint first."""

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^([\x21-\x7e]([\x20-\x7e\t]{0,4094}[\x21-\x7e])?)?$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class FetchStatus(StrEnum):
    """Where a fetch is. The last four are terminal and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """True for a status that never changes again."""
        return self not in (FetchStatus.QUEUED, FetchStatus.RUNNING)


class ErrorType(StrEnum):
    """Why a fetch failed: a closed set, the same in JSON, SQL and metrics."""

    REFUSED_ADDRESS = "refused_address"
    REFUSED_SCHEME = "refused_scheme"
    REFUSED_PORT = "refused_port"
    REFUSED_ROBOTS = "refused_robots"
    INVALID_URL = "invalid_url"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    DECODE = "decode"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    ABANDONED = "abandoned"
    EXPIRED = "expired"
    INTERNAL = "internal"


class RetryPolicy(Message):
    """How often a fetch is tried again after a failure that may pass, and how long at first to wait."""

    max: int = Field(default=2, ge=0, le=10, description="Further attempts after the first, at most.")
    backoff_seconds: float = Field(
        default=1.0, ge=0.05, le=3600, description="Upper bound of the first wait; it doubles each time, with full jitter."
    )


class FetchRequest(Message):
    """What a caller asks for: one URL and how to fetch it."""

    url: str = Field(min_length=1, max_length=4096, description="Absolute http or https URL.")
    method: Literal["GET", "HEAD"] = Field(default="GET", description="GET or HEAD.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, max_length=50, description="Request headers to send, at most 50."
    )
    timeout_seconds: float = Field(
        default=TIMEOUT_DEFAULT_SECONDS,
        ge=0.1,
        le=TIMEOUT_LIMIT_SECONDS,
        description="Deadline of one attempt over all its redirects.",
    )
    max_bytes: int = Field(
        default=BODY_DEFAULT_BYTES,
        ge=1,
        le=BODY_LIMIT_BYTES,
        description="Largest decoded body that is kept; a larger one fails as too_large.",
    )
    delay_seconds: float = Field(default=0, ge=0, le=DELAY_LIMIT_SECONDS, description="Earliest start, counted from acceptance.")
    retries: RetryPolicy = Field(default_factory=RetryPolicy, description="When to try again.")


class AcceptedFetch(Message):
    """One fetch that a gateway promised to do."""

    id: UUID
    host: str
    accepted_at: AwareDatetime
    request: FetchRequest


class FetchesAccepted(Message):
    """Data of `fetch.accepted.v1`: one or more fetches promised by one request."""

    fetches: tuple[AcceptedFetch, ...] = Field(min_length=1)


class PerformFetch(Message):
    """One fetch to attempt now. A worker drops it when `lease_ends_at` has passed."""

    id: UUID
    dispatch_seq: int = Field(ge=1)
    lease_ends_at: AwareDatetime
    traceparent: str | None = None
    request: FetchRequest


class PerformFetches(Message):
    """Data of `fetch.perform.v1`: a batch of attempts for one worker."""

    fetches: tuple[PerformFetch, ...] = Field(min_length=1)


class OutcomeKind(StrEnum):
    """What an attempt came to, at a glance. The value is a metric label."""

    FETCHED = "fetched"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class FetchError(Message):
    """Why there is no response to keep. `detail` is a sentence for the caller, without internal addresses."""

    type: ErrorType
    detail: str = Field(max_length=500)


class ResponseHead(Message):
    """The final response of an attempt, without its body."""

    status: int = Field(ge=100, le=999)
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str | None = None
    final_url: str


class BodyReference(Message):
    """Where an attempt's body is: inside the stream entry, or already in the store under its digest."""

    digest: Digest
    size_bytes: int = Field(ge=0)
    compressed_bytes: int = Field(ge=0)
    is_inline: bool


class Hop(Message):
    """One exchange of an attempt: what was dialled and what came back."""

    url: str
    verdict: str
    addresses: tuple[str, ...] = ()
    peer: str | None = None
    is_reused: bool = False
    status: int | None = None


class Evidence(Message):
    """What an attempt really did on the wire. Durations in seconds, sizes in bytes."""

    hops: tuple[Hop, ...] = ()
    dns_seconds: float = 0.0
    connect_seconds: float = 0.0
    first_byte_seconds: float = 0.0
    body_seconds: float = 0.0
    total_seconds: float = 0.0
    tls_version: str | None = None
    wire_bytes: int = 0
    decoded_bytes: int = 0


class Outcome(Message):
    """The judged result of one attempt: a response or an error, and whether another attempt may help."""

    kind: OutcomeKind
    is_retryable: bool = False
    not_before: AwareDatetime | None = None
    response: ResponseHead | None = None
    body: BodyReference | None = None
    error: FetchError | None = None
    evidence: Evidence = Evidence()


class FetchAttempted(Message):
    """Data of `fetch.attempted.v1`: one attempt by one worker, judged."""

    id: UUID
    dispatch_seq: int = Field(ge=1)
    worker: str = Field(max_length=200)
    started_at: AwareDatetime
    finished_at: AwareDatetime
    outcome: Outcome


class FetchFinished(Message):
    """Data of `fetch.finished.v1`, on the public feed: a fetch reached a terminal status."""

    id: UUID
    url: str
    status: FetchStatus
    finished_at: AwareDatetime
    response_status: int | None = None
    error_type: ErrorType | None = None
