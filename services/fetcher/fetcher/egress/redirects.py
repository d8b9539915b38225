"""What goes out again when a response redirects (RFC 9110 section 15.4). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from common.contracts.fetches import BinaryBody, FetchRequest
from common.urls import Target

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
"""300, 305 and 306 offer a choice or mean something else; they are kept as they came."""
CONTENT_HEADER_PREFIX = "content-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What one hop sends: its method, its body if any, and the caller's headers that go along."""

    method: str
    body: bytes | None
    headers: Mapping[str, str]


def first_sending(request: FetchRequest) -> Sending:
    """What the first hop sends. Text without a Content-Type goes as `text/plain; charset=utf-8`, bytes as octets.

    Raises ValueError when the body's base64 is malformed, which the gateway has refused.
    """
    body, headers = request.body_bytes, dict(request.headers)
    if body is not None and not any(name.lower() == "content-type" for name in headers):
        is_binary = isinstance(request.body, BinaryBody)
        headers["Content-Type"] = "application/octet-stream" if is_binary else "text/plain; charset=utf-8"
    return Sending(method=request.method, body=body, headers=headers)


def follow(status: int, sent: Sending, *, source: Target, target: Target) -> Sending | None:
    """What to send to `target` after `status` from `source`, or None when the redirect is not to be followed.

    303 asks for a GET (a HEAD stays one); so do 301 and 302 after a POST, as all browsers do (RFC 9110 section 15.4.2). Other
    methods, and 307 and 308, go again as they were. Caller headers may be credentials: they were meant for the first origin
    only. So was a body, and without it the request would be another one: such a redirect is not followed.
    """
    method, body, headers = sent.method, sent.body, sent.headers
    if (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if not name.lower().startswith(CONTENT_HEADER_PREFIX)}
    if target.origin == source.origin:
        return Sending(method=method, body=body, headers=headers)
    return None if body is not None else Sending(method=method, body=None, headers={})
