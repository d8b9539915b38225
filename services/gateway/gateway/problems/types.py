"""The registry of everything the API can refuse with: status, title, what to do, and an example (RFC 9457 section 3.1.1).

HTTP status codes of refusals exist only here. Pages, generated documentation and the OpenAPI document are made from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MEDIA_TYPE = "application/problem+json"


class ProblemType(StrEnum):
    """The stable name of a kind of problem; the last part of its `type` reference."""

    MALFORMED_JSON = "malformed-json"
    INVALID_REQUEST = "invalid-request"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    BODY_TOO_LARGE = "body-too-large"
    UPLOAD_STALLED = "upload-stalled"
    UNAUTHENTICATED = "unauthenticated"
    INSUFFICIENT_SCOPE = "insufficient-scope"
    KEY_REVOKED = "key-revoked"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    NOT_FINISHED = "not-finished"
    NO_CONTENT = "no-content"
    ALREADY_FINISHED = "already-finished"
    CURSOR_MISMATCH = "cursor-mismatch"
    RANGE_NOT_SATISFIABLE = "range-not-satisfiable"
    IDEMPOTENCY_KEY_MALFORMED = "idempotency-key-malformed"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency-key-in-flight"
    QUOTA_EXCEEDED = "quota-exceeded"
    OVERLOADED = "overloaded"
    STOPPING = "stopping"
    EVENTS_UNAVAILABLE = "events-unavailable"
    FEED_UNAVAILABLE = "feed-unavailable"
    STORE_UNAVAILABLE = "store-unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all problems of one type share: status, title, what to do about them, and the `detail` of one as an example."""

    status: int
    title: str
    remedy: str
    example: str
    errors: Sequence[Mapping[str, str]] = ()
    retry_after_seconds: int | None = None


REGISTRY: Mapping[ProblemType, Kind] = {
    ProblemType.MALFORMED_JSON: Kind(
        status=400,
        title="The body is not JSON",
        remedy="Send one JSON object, encoded as UTF-8.",
        example="The body stops being JSON at character 17.",
    ),
    ProblemType.INVALID_REQUEST: Kind(
        status=422,
        title="The request is not valid",
        remedy="Correct the members named in `errors` and send it again.",
        example="1 member of the request must be corrected.",
        errors=({"detail": "This member is required.", "pointer": "#/url"},),
    ),
    ProblemType.UNSUPPORTED_MEDIA_TYPE: Kind(
        status=415,
        title="The body's media type is not supported",
        remedy="Send the header `Content-Type: application/json`.",
        example="The body was sent as text/plain; this API reads application/json.",
    ),
    ProblemType.BODY_TOO_LARGE: Kind(
        status=413,
        title="The body is too large",
        remedy="Send a smaller body; `detail` names the limit.",
        example="The body may have 65536 bytes at most.",
    ),
    ProblemType.UPLOAD_STALLED: Kind(
        status=408,
        title="The body stopped arriving",
        remedy="Send it again without long pauses, under the same `Idempotency-Key` if it had one.",
        example="Nothing arrived for 30 seconds, and the body has not ended.",
    ),
    ProblemType.UNAUTHENTICATED: Kind(
        status=401,
        title="The API key is missing or wrong",
        remedy="Send the header `Authorization: Bearer KEY`.",
        example="Send the header `Authorization: Bearer KEY` with a key of this deployment.",
    ),
    ProblemType.INSUFFICIENT_SCOPE: Kind(
        status=403,
        title="The API key may not do this",
        remedy="Use a key with the scope that `detail` names.",
        example="This needs a key with the scope `fetch:write`.",
    ),
    ProblemType.KEY_REVOKED: Kind(
        status=409,
        title="The API key has been revoked",
        remedy="Use another key, or make one: a revoked key stays revoked.",
        example="The key is revoked and stays so; make another one.",
    ),
    ProblemType.NOT_FOUND: Kind(
        status=404,
        title="There is nothing here",
        remedy="Check the path and the id.",
        example="No fetch has this id.",
    ),
    ProblemType.METHOD_NOT_ALLOWED: Kind(
        status=405,
        title="The method is not allowed here",
        remedy="Use one of the methods in the `Allow` header.",
        example="PUT is not supported on this path.",
    ),
    ProblemType.NOT_FINISHED: Kind(
        status=409,
        title="The fetch is not finished",
        remedy="Ask again after `Retry-After` seconds.",
        example="The fetch is running; its content comes when it has succeeded.",
        retry_after_seconds=1,
    ),
    ProblemType.NO_CONTENT: Kind(
        status=404,
        title="The fetch has no content",
        remedy="Read the fetch itself: its `status` and `error` say why.",
        example="The fetch is failed; there is no response to show.",
    ),
    ProblemType.ALREADY_FINISHED: Kind(
        status=409,
        title="The fetch has already finished",
        remedy="Read the fetch: what came of it stays as it is.",
        example="The fetch is succeeded; there is nothing left to cancel.",
    ),
    ProblemType.CURSOR_MISMATCH: Kind(
        status=400,
        title="The cursor does not belong to this list",
        remedy="Start again without `cursor`, or repeat the filters that the cursor came with.",
        example="Give a `next_cursor` of this list as it came, with the filters it came with.",
    ),
    ProblemType.RANGE_NOT_SATISFIABLE: Kind(
        status=416,
        title="The range is outside the content",
        remedy="Ask for bytes within the size that `Content-Range` tells, or leave `Range` out.",
        example="The content has 1256 bytes.",
    ),
    ProblemType.IDEMPOTENCY_KEY_MALFORMED: Kind(
        status=400,
        title="The Idempotency-Key is malformed",
        remedy="Send 1 to 255 printable ASCII characters, quoted or not.",
        example="The header `Idempotency-Key` has 300 characters; 255 are the limit.",
    ),
    ProblemType.IDEMPOTENCY_KEY_REUSED: Kind(
        status=422,
        title="The Idempotency-Key came with another request before",
        remedy="Repeat the first request as it was, or take a new key for a new request.",
        example="This key came with another method, path or body.",
    ),
    ProblemType.IDEMPOTENCY_KEY_IN_FLIGHT: Kind(
        status=409,
        title="The first request with this Idempotency-Key is still under way",
        remedy="Send it again after `Retry-After` seconds: you will get the first request's answer.",
        example="The first request with this key has not been answered yet.",
        retry_after_seconds=1,
    ),
    ProblemType.QUOTA_EXCEEDED: Kind(
        status=429,
        title="The API key has used up its quota",
        remedy="Send it again after `Retry-After` seconds; `detail` names the limit.",
        example="This key may send 600 requests a minute.",
        retry_after_seconds=1,
    ),
    ProblemType.OVERLOADED: Kind(
        status=503,
        title="More arrives than we can take in",
        remedy="Send it again after `Retry-After` seconds.",
        example="Too many requests are under way; send it again after `Retry-After` seconds.",
        retry_after_seconds=2,
    ),
    ProblemType.STOPPING: Kind(
        status=503,
        title="The server stopped before it had an answer",
        remedy="Send it again, with the same `Idempotency-Key` if it had one: without one a submission may have been accepted.",
        example="Send it again; with the same Idempotency-Key nothing is done twice.",
        retry_after_seconds=1,
    ),
    ProblemType.EVENTS_UNAVAILABLE: Kind(
        status=503,
        title="The fetch could not be promised",
        remedy="Send it again; nothing was promised.",
        example="Send it again; nothing was promised.",
        retry_after_seconds=1,
    ),
    ProblemType.FEED_UNAVAILABLE: Kind(
        status=503,
        title="The feed cannot be read right now",
        remedy="Ask again with the same cursor; nothing of the feed is lost.",
        example="Ask again with the same cursor; nothing of the feed is lost.",
        retry_after_seconds=1,
    ),
    ProblemType.STORE_UNAVAILABLE: Kind(
        status=503,
        title="The ledger cannot be asked right now",
        remedy="Ask again; accepted fetches go on.",
        example="Ask again; accepted fetches go on.",
        retry_after_seconds=1,
    ),
    ProblemType.INTERNAL: Kind(
        status=500,
        title="Something went wrong on our side",
        remedy="Report the `trace_id`.",
        example="The fault is logged under this trace id.",
    ),
}


def reference(type: ProblemType) -> str:
    """The `type` of its problems: a relative reference to its page."""
    return f"/problems/{type}"


def type_of(reference: str) -> ProblemType:
    """The type of a problem that has this reference as its `type`. Raises ValueError when it is none of ours."""
    return ProblemType(reference.removeprefix("/problems/"))
