"""What the public API takes and gives: strict at the door, the store's view with links on the way out."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from common.contracts.fetches import (
    ATTRS_LIMIT_BYTES,
    DELAY_LIMIT_SECONDS,
    IDEMPOTENT_METHODS,
    LABELS_LIMIT,
    REQUEST_BODY_LIMIT_BYTES,
    BinaryBody,
    FetchRequest,
    HeaderName,
    HeaderValue,
    Label,
    RetryPolicy,
)
from common.contracts.request_headers import is_denied
from common.contracts.views import FetchPage, FetchView
from common.urls import UrlRefusal, read_url
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from gateway.examples import FETCH_EXAMPLES
from gateway.whole_numbers import read_whole

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
WITHOUT_BODY = frozenset({"GET", "HEAD"})
EXPIRY_LIMIT_SECONDS = 60 * 24 * 3600.0
TIME = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z")
"""`date-time` of RFC 3339 section 5.6, which has an offset always."""
NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")
"""NUL as JSON escapes it."""
EXAMPLES: list[JsonValue] = [
    {"url": "https://example.com/"},
    {"url": "https://example.com/prices", "headers": {"Accept": "text/html"}, "max_age_seconds": 3600},
    {"url": "https://example.com/orders", "method": "POST", "headers": {"Content-Type": "application/json"}, "body": '{"n": 1}'},
    {"url": "https://example.com/images/1", "method": "PUT", "body": {"base64": "iVBORw0KGgo="}, "retries": {"max": 3}},
    {"url": "https://example.com/news", "priority": 9, "delay_seconds": 60},
    {"url": "https://example.com/item/7", "labels": ["shop", "run:42"], "attrs": {"sku": "A-7"}},
]


class BinaryBodySubmission(BinaryBody):
    """A body of bytes, as base64; unknown members are refused."""

    model_config = STRICT


def _canonical_url(text: str) -> str:
    """Refuse what the fetcher would refuse before any lookup, so that a client learns at once."""
    target = read_url(text)
    if isinstance(target, UrlRefusal):
        raise PydanticCustomError("url_refused", "{detail}", {"detail": target.detail})
    return target.url


def _caller_header(name: str) -> str:
    if is_denied(name):
        raise PydanticCustomError("header_refused", "This header is set by the fetcher itself; leave it out.")
    return name


def _read_body(given: object) -> object:
    """A body as text or as bytes. The reasons name the member and never show what it holds."""
    if given is None or isinstance(given, str | BinaryBodySubmission):
        return given
    if not isinstance(given, dict):
        raise PydanticCustomError("body_refused", 'A body is text, or {"base64": …} for bytes.')
    if set(given) != {"base64"} or not isinstance(given["base64"], str):
        raise PydanticCustomError("body_refused", "A body that is an object has one member, `base64`, which is text.")
    try:
        base64.b64decode(given["base64"], validate=True)
    except ValueError as error:
        detail = "This is not base64 with padding (RFC 4648 section 4)."
        raise PydanticCustomError("body_refused", "{detail}", {"detail": detail, "member": "base64"}) from error
    return BinaryBodySubmission(base64=given["base64"])


def _read_time(given: object) -> object:
    """A time as JSON has it. Naive times are refused: nobody knows when they are."""
    if given is None or isinstance(given, datetime):
        return given
    if not isinstance(given, str) or not TIME.match(given):
        raise PydanticCustomError("time_refused", "A time is text as in RFC 3339 with its offset, such as 2026-12-24T18:00:00Z.")
    try:
        return datetime.fromisoformat(given.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("time_refused", "There is no such time.") from error


def _distinct(labels: list[str]) -> list[str]:
    return list(dict.fromkeys(labels))


def _storable(attrs: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What Postgres keeps as jsonb, and not much of it: no NUL, no half of a surrogate pair, no number beyond all bounds."""
    try:
        text = json.dumps(attrs, ensure_ascii=False, allow_nan=False)
        size_bytes = len(text.encode())
    except ValueError as error:
        raise PydanticCustomError("attrs_refused", "There is text that is not Unicode, or a number that is too large.") from error
    if NUL.search(text):
        raise PydanticCustomError("attrs_refused", "Text here may not hold NUL.")
    if size_bytes > ATTRS_LIMIT_BYTES:
        raise PydanticCustomError("attrs_refused", "These exceed {limit} bytes of JSON.", {"limit": ATTRS_LIMIT_BYTES})
    return attrs


Time = Annotated[AwareDatetime | None, BeforeValidator(_read_time)]


class RetrySubmission(RetryPolicy):
    """When to try again; unknown members are refused."""

    model_config = STRICT

    _read_whole = field_validator("max", mode="before")(read_whole)


class FetchSubmission(FetchRequest):
    """The body of `POST /v1/fetches`: only `url` is required; unknown members are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": EXAMPLES})

    url: Annotated[
        str, Field(min_length=1, max_length=4096, description="Absolute http or https URL."), AfterValidator(_canonical_url)
    ]
    headers: dict[Annotated[HeaderName, AfterValidator(_caller_header)], HeaderValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Request headers to send, at most 50.",
        json_schema_extra={"additionalProperties": False},
    )
    body: Annotated[str | BinaryBodySubmission | None, BeforeValidator(_read_body)] = Field(
        default=None,
        description='Text, sent as UTF-8, or {"base64": …} for bytes; 32 KiB at most, and none with GET and HEAD.',
    )
    not_before: Time = Field(
        default=None,
        description="Earliest start, RFC 3339 with an offset, at most 30 days ahead; instead of `delay_seconds`.",
    )
    expires_at: Time = Field(
        default=None,
        description="No attempt starts from then on: a fetch that is still pending ends as `expired`. "
        "RFC 3339 with an offset, after the earliest start and at most 60 days ahead.",
    )
    retries: RetrySubmission = Field(
        default_factory=RetrySubmission,
        validate_default=True,
        description="When to try again; `max` is 0 for a method that is not idempotent.",
    )
    labels: Annotated[list[Label], AfterValidator(_distinct)] = Field(
        default_factory=list, max_length=LABELS_LIMIT, description="What lists can be asked for, at most 20, each once."
    )
    attrs: Annotated[dict[str, JsonValue], AfterValidator(_storable)] = Field(
        default_factory=dict, description="Whatever the caller wants back with the fetch; 4 KiB of JSON at most."
    )

    _read_whole = field_validator("priority", "max_bytes", mode="before")(read_whole)

    @field_validator("body")
    @classmethod
    def _body_fits(cls, body: str | BinaryBody | None, info: ValidationInfo) -> str | BinaryBody | None:
        method = info.data.get("method")
        if body is not None and method in WITHOUT_BODY:
            raise PydanticCustomError("body_refused", "A {method} request has no body; leave it out.", {"method": method})
        sent = base64.b64decode(body.base64) if isinstance(body, BinaryBody) else (body or "").encode()
        if len(sent) > REQUEST_BODY_LIMIT_BYTES:
            raise PydanticCustomError("body_refused", "The body exceeds {limit} bytes.", {"limit": REQUEST_BODY_LIMIT_BYTES})
        return body

    @field_validator("retries")
    @classmethod
    def _retries_suit_the_method(cls, retries: RetrySubmission, info: ValidationInfo) -> RetrySubmission:
        """What is not idempotent is attempted at most once: said otherwise it is refused, not said it is understood."""
        method = info.data.get("method", "GET")
        if method in IDEMPOTENT_METHODS:
            return retries
        if "max" in retries.model_fields_set and retries.max > 0:
            detail = f"{method} is not idempotent and is attempted at most once; leave this out or make it 0."
            raise PydanticCustomError("retries_refused", "{detail}", {"detail": detail, "member": "max"})
        return RetrySubmission(max=0, backoff_seconds=retries.backoff_seconds)


def time_faults(submission: FetchSubmission, *, now: datetime) -> list[tuple[str, str]]:
    """What is wrong with a submission's times at the time `now`: members, each with a sentence; empty when all is well."""
    faults: list[tuple[str, str]] = []
    start, expires_at = submission.not_before, submission.expires_at
    if start is not None and submission.delay_seconds > 0:
        faults.append(("not_before", "Give either this or `delay_seconds`, not both."))
    elif start is not None and start > now + timedelta(seconds=DELAY_LIMIT_SECONDS):
        faults.append(("not_before", "This is more than 30 days ahead."))
    if expires_at is None:
        return faults
    if expires_at <= now:
        faults.append(("expires_at", "This time has passed."))
    elif expires_at <= (start or now + timedelta(seconds=submission.delay_seconds)):
        faults.append(("expires_at", "This is not after the earliest start, so that the fetch would never be attempted."))
    elif expires_at > now + timedelta(seconds=EXPIRY_LIMIT_SECONDS):
        faults.append(("expires_at", "This is more than 60 days ahead."))
    return faults


class Links(BaseModel):
    """Where to go from a fetch."""

    self_: str = Field(alias="self", serialization_alias="self")
    content: str
    retry: str | None = Field(default=None, description="For a new fetch with the same request; null until this one has ended.")
    batch: str | None = Field(default=None, description="The batch that it came with.")


class FetchDocument(FetchView):
    """One fetch, as the public API shows it."""

    model_config = ConfigDict(json_schema_extra={"examples": FETCH_EXAMPLES})

    links: Links

    @classmethod
    def of(cls, view: FetchView) -> Self:
        """The document of a view."""
        path = f"/v1/fetches/{view.id}"
        retry = f"{path}/retry" if view.status.is_terminal else None
        batch = f"/v1/batches/{view.batch_id}" if view.batch_id else None
        return cls(**dict(view), links=Links(self=path, content=f"{path}/content", retry=retry, batch=batch))


class FetchPageDocument(BaseModel):
    """Fetches, the newest first. `next_cursor` is null on the last page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": FETCH_EXAMPLES, "next_cursor": None}]})

    items: list[FetchDocument]
    next_cursor: str | None = None

    @classmethod
    def of(cls, page: FetchPage, *, next_cursor: str | None) -> Self:
        """The document of a page; its cursor is the public one."""
        return cls(items=[FetchDocument.of(view) for view in page.items], next_cursor=next_cursor)
