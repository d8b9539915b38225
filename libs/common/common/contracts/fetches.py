"""The words of a fetch: what is asked, what is sent to a worker, what an attempt came to."""

import base64
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints

from common.contracts.batches import AcceptedBatch
from common.contracts.envelope import Message
from common.contracts.faults import ErrorType as ErrorType
from common.contracts.tenants import DEFAULT_TENANT, KeyId, Tenant

TIMEOUT_DEFAULT_SECONDS = 30.0
TIMEOUT_LIMIT_SECONDS = 60.0
BODY_DEFAULT_BYTES = 10 * 1024 * 1024
BODY_LIMIT_BYTES = 64 * 1024 * 1024
DELAY_LIMIT_SECONDS = 30 * 24 * 3600.0
PRIORITY_DEFAULT = 5
PRIORITY_LIMIT = 9
AGE_LIMIT_SECONDS = 30 * 24 * 3600.0
LABELS_LIMIT = 20
ATTRS_LIMIT_BYTES = 4096
REQUEST_BODY_LIMIT_BYTES = 32 * 1024
"""What a fetch may send: it travels through the ledger and the broker. The gateway asks for it; readers take what they get."""
INLINE_BODY_LIMIT_BYTES = 256 * 1024
"""Compressed bodies up to this size travel inside `fetch.attempted.v1`; larger ones go to the store's content endpoint first."""

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^([\x21-\x7e]([\x20-\x7e\t]{0,4094}[\x21-\x7e])?)?$")]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
IDEMPOTENT_METHODS: frozenset[Method] = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2. A fetch with any other method is attempted at most once."""
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/@+=-]{1,64}$")]
"""What a caller sorts its fetches by; a list can be asked for one of them."""


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


class RetryPolicy(Message):
    """How often a fetch is tried again after a failure that may pass, and how long at first to wait."""

    max: int = Field(default=2, ge=0, le=10, description="Further attempts after the first, at most.")
    backoff_seconds: float = Field(
        default=1.0, ge=0.05, le=3600, description="Upper bound of the first wait; it doubles each time, with full jitter."
    )


class BinaryBody(Message):
    """A request body that is not text."""

    base64: str = Field(description="The bytes in base64 (RFC 4648 section 4), with padding.")


class FetchRequest(Message):
    """What a caller asks for: one URL and how to fetch it."""

    url: str = Field(min_length=1, max_length=4096, description="Absolute http or https URL.")
    method: Method = Field(
        default="GET", description="POST and PATCH are not idempotent: such a fetch is attempted at most once."
    )
    body: str | BinaryBody | None = Field(
        default=None,
        description='Text, sent as UTF-8, or {"base64": …} for bytes; 32 KiB at most, and none with GET and HEAD.',
    )
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
    max_age_seconds: float | None = Field(
        default=None,
        ge=0,
        le=AGE_LIMIT_SECONDS,
        description="A stored response of this age may answer, and an older one may be revalidated; absent: always a full fetch.",
    )
    robots: Literal["obey", "ignore"] = Field(
        default="obey", description="Whether the host's robots.txt (RFC 9309) is obeyed; ignore it only on hosts of your own."
    )
    delay_seconds: float = Field(default=0, ge=0, le=DELAY_LIMIT_SECONDS, description="Earliest start, counted from acceptance.")
    not_before: AwareDatetime | None = Field(default=None, description="Earliest start; instead of `delay_seconds`.")
    expires_at: AwareDatetime | None = Field(
        default=None, description="No attempt starts from then on: a fetch that is still pending ends as `expired`."
    )
    priority: int = Field(
        default=PRIORITY_DEFAULT,
        ge=0,
        le=PRIORITY_LIMIT,
        description="9 goes first on its host, 0 last; waiting makes up for it, so that nothing waits for ever.",
    )
    retries: RetryPolicy = Field(default_factory=RetryPolicy, description="When to try again.")

    @property
    def is_idempotent(self) -> bool:
        """Whether the request may be sent more than once (RFC 9110 section 9.2.2)."""
        return self.method in IDEMPOTENT_METHODS

    @property
    def body_bytes(self) -> bytes | None:
        """The body as it goes out, None when there is none. Raises ValueError when its base64 is malformed."""
        if isinstance(self.body, BinaryBody):
            return base64.b64decode(self.body.base64, validate=True)
        return self.body.encode() if self.body is not None else None


class AcceptedFetch(Message):
    """One fetch that a gateway promised to do: what is asked, of whom it is, and what its caller noted about it.

    Without `key_id` it came with the first key of the deployment, which no table knows.
    """

    id: UUID
    host: str
    accepted_at: AwareDatetime
    request: FetchRequest
    tenant: Tenant = DEFAULT_TENANT
    key_id: KeyId | None = None
    batch_id: UUID | None = None
    labels: tuple[Label, ...] = ()
    attrs: dict[str, JsonValue] = Field(default_factory=dict)


class FetchesAccepted(Message):
    """Data of `fetch.accepted.v1`: fetches promised by one request. A request of many comes as several events.

    `batch` is in the last event of a batch, which may have no fetches of its own.
    """

    fetches: tuple[AcceptedFetch, ...]
    batch: AcceptedBatch | None = None


class Validators(Message):
    """What makes a request conditional (RFC 9110 section 13): the validators of a stored response, and the fetch that has it."""

    fetch_id: UUID
    etag: str | None = None
    last_modified: str | None = None


class Train(Message):
    """Several fetches of one host that one worker makes one after another, and what it must keep between them.

    Commands of a batch that name the same train follow each other in it. From the end of one exchange on the host to the start
    of the next it waits `delay_seconds`. None but the first is started later than `seconds` after the first.
    """

    id: UUID = Field(description="The id of its last fetch.")
    seconds: float = Field(ge=0)
    delay_seconds: float = Field(default=0.0, ge=0)


class PerformFetch(Message):
    """One fetch to attempt now. A worker drops it when `lease_ends_at` has passed; one of a train it may give back (snooze)."""

    id: UUID
    dispatch_seq: int = Field(ge=1)
    lease_ends_at: AwareDatetime
    traceparent: str | None = None
    validators: Validators | None = None
    train: Train | None = None
    request: FetchRequest


class PerformFetches(Message):
    """Data of `fetch.perform.v1`: a batch of attempts for one worker."""

    fetches: tuple[PerformFetch, ...] = Field(min_length=1)


class OutcomeKind(StrEnum):
    """What an attempt came to, at a glance. The value is a metric label.

    `snoozed` is none: the worker gave the fetch back before its turn, and it is dispatched again. Only of trains.
    """

    FETCHED = "fetched"
    NOT_MODIFIED = "not_modified"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    SNOOZED = "snoozed"


class FetchError(Message):
    """Why there is no response to keep. `detail` is a sentence for the caller, without internal addresses."""

    type: ErrorType
    detail: str = Field(max_length=500)


class Redirect(Message):
    """A redirect that was followed: where it came from and with which status."""

    url: str
    status: int


class CharsetSource(StrEnum):
    """What a charset was read from, the strongest first (WHATWG Encoding and HTML, section 13.2.3)."""

    BOM = "bom"
    HEADER = "header"
    META = "meta"
    DETECTOR = "detector"


class ResponseHead(Message):
    """The final response of an attempt, without its body.

    `media_type` is the declared one, `detected_media_type` what the first bytes say. `charset` is the one that decodes a text
    body; None for other bodies. `coding` was undone: the kept bytes are decoded.
    """

    status: int = Field(ge=100, le=999)
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str | None = None
    detected_media_type: str | None = None
    charset: str | None = None
    charset_source: CharsetSource | None = None
    coding: str | None = None
    redirects: tuple[Redirect, ...] = ()
    final_url: str


class BodyReference(Message):
    """Where an attempt's body is: inside the stream entry, or already in the store under its digest."""

    digest: Digest
    size_bytes: int = Field(ge=0)
    compressed_bytes: int = Field(ge=0)
    is_inline: bool


class Budget(StrEnum):
    """A limit of an attempt that was exceeded."""

    CONNECT = "connect"
    FIRST_BYTE = "first_byte"
    IDLE = "idle"
    TOTAL = "total"
    WIRE_BYTES = "wire_bytes"
    DECODED_BYTES = "decoded_bytes"
    DECODED_RATIO = "decoded_ratio"
    HEADER_BYTES = "header_bytes"
    REDIRECTS = "redirects"


class RobotsVerdict(StrEnum):
    """What robots.txt says about a URL (RFC 9309)."""

    ALLOWED = "allowed"
    DISALLOWED = "disallowed"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    IGNORED = "ignored"

    @property
    def is_allowed(self) -> bool:
        """Whether the URL may be fetched: unavailable (4xx) allows all, unreachable (5xx) nothing (section 2.3.1)."""
        return self not in (RobotsVerdict.DISALLOWED, RobotsVerdict.UNREACHABLE)


class RobotsEvidence(Message):
    """Why robots.txt let a URL pass or not: the line that matched, and the file it stands in."""

    verdict: RobotsVerdict
    url: str | None = None
    status: int | None = None
    line: str | None = None
    fetched_at: AwareDatetime | None = None
    crawl_delay_seconds: float | None = None


class Hop(Message):
    """One exchange of an attempt: what was dialled and what came back.

    With `via_proxy`, `addresses` are what the name resolved to, the proxy dialled one of them for us, and `peer` is the proxy.
    """

    url: str
    method: str = "GET"
    verdict: str
    via_proxy: bool = False
    addresses: tuple[str, ...] = ()
    peer: str | None = None
    is_reused: bool = False
    status: int | None = None


class Evidence(Message):
    """What an attempt really did on the wire. Durations in seconds, sizes in bytes.

    `exceeded` names the limit that ended it; `received` is the response head of an attempt that failed after it.
    """

    hops: tuple[Hop, ...] = ()
    robots: RobotsEvidence | None = None
    exceeded: Budget | None = None
    received: ResponseHead | None = None
    dns_seconds: float = 0.0
    connect_seconds: float = 0.0
    first_byte_seconds: float = 0.0
    body_seconds: float = 0.0
    total_seconds: float = 0.0
    tls_version: str | None = None
    wire_bytes: int = 0
    decoded_bytes: int = 0


class Outcome(Message):
    """The judged result of one attempt: a response or an error, and whether another attempt may help.

    `not_before` is the time until which the host asked to be left alone, whether or not this fetch is attempted again.
    When it is `not_modified`, `response` is the 304 as it came, and the content is that of the command's validators.
    """

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
    batch_id: UUID | None = None
    labels: tuple[str, ...] = ()
