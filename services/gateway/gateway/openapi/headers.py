"""The headers of our answers, each described once."""

from enum import StrEnum
from typing import Any


class ResponseHeader(StrEnum):
    """A header that some answers carry and that the OpenAPI document describes."""

    ACCEPT_RANGES = "Accept-Ranges"
    ALLOW = "Allow"
    CONTENT_DISPOSITION = "Content-Disposition"
    CONTENT_LOCATION = "Content-Location"
    CONTENT_RANGE = "Content-Range"
    ETAG = "ETag"
    IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
    LINK = "Link"
    LOCATION = "Location"
    PREFERENCE_APPLIED = "Preference-Applied"
    RATE_LIMIT = "RateLimit"
    RATE_LIMIT_POLICY = "RateLimit-Policy"
    RETRY_AFTER = "Retry-After"
    WWW_AUTHENTICATE = "WWW-Authenticate"


def _text(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


HEADERS: dict[ResponseHeader, dict[str, Any]] = {
    ResponseHeader.ACCEPT_RANGES: _text("The unit of ranges that `Range` may name (RFC 9110 section 14.3).", "bytes"),
    ResponseHeader.ALLOW: _text("The methods that this path knows (RFC 9110 section 10.2.1).", "GET, POST"),
    ResponseHeader.CONTENT_DISPOSITION: _text(
        "Always a download, so that no browser renders a stranger's page here (RFC 6266).",
        'attachment; filename="01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55.bin"',
    ),
    ResponseHeader.CONTENT_LOCATION: _text(
        "Where the document in this answer can be read again (RFC 9110 section 8.7).",
        "/v1/fetches/01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55",
    ),
    ResponseHeader.CONTENT_RANGE: _text(
        "Which bytes these are, and of how many (RFC 9110 section 14.4).", "bytes 0-1023/146515"
    ),
    ResponseHeader.ETAG: _text(
        "Names these bytes; send it as `If-None-Match` to be spared what you have (RFC 9110 section 8.8.3).",
        '"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
    ),
    ResponseHeader.IDEMPOTENCY_REPLAYED: {
        "description": "Whether this answer was given before, to the same request under the same `Idempotency-Key`. Else absent.",
        "schema": {"type": "boolean"},
        "example": True,
    },
    ResponseHeader.LINK: _text(
        'The next page, as `rel="next"`; absent on the last one (RFC 8288).', '</v1/fetches?limit=50&cursor=WyJm>; rel="next"'
    ),
    ResponseHeader.LOCATION: _text(
        "Where that which was made can be read (RFC 9110 section 10.2.2).", "/v1/fetches/01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55"
    ),
    ResponseHeader.PREFERENCE_APPLIED: _text("Which preference was honoured (RFC 7240 section 3).", "wait=10"),
    ResponseHeader.RATE_LIMIT: _text(
        "What is left of the key's quota: `r` requests, and `t` seconds until it is restored. Absent where there is no limit.",
        '"requests";r=599;t=1',
    ),
    ResponseHeader.RATE_LIMIT_POLICY: _text(
        "The key's quota: `q` requests within a window of `w` seconds. Absent where there is no limit.", '"requests";q=600;w=60'
    ),
    ResponseHeader.RETRY_AFTER: {
        "description": "Seconds to wait before the request is sent, or the document read, again (RFC 9110 section 10.2.3).",
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    ResponseHeader.WWW_AUTHENTICATE: _text("How to authenticate (RFC 6750 section 3).", 'Bearer realm="fetchwork"'),
}


def references(*headers: ResponseHeader) -> dict[str, Any]:
    """The `headers` member of a response."""
    return {header.value: {"$ref": f"#/components/headers/{header}"} for header in headers}
