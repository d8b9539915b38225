"""Which responses may answer again, what makes a request conditional, and what a 304 changes (RFC 9111). Pure."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from common.contracts.fetches import ResponseHead, Validators

Headers = Iterable[Sequence[str]]

REUSABLE_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 410})
"""Of the heuristically cacheable ones (RFC 9110 section 15.1) those that speak of a whole resource."""
VALIDATOR_LIMIT_CHARACTERS = 1024
"""A longer validator would be an odd one to send to an origin."""
KEPT_BY_304 = frozenset(
    (
        # Ours, since the body was processed before it was stored, and Content-Length by rule (RFC 9111 section 3.2).
        "content-length content-encoding content-type content-range "
        # Of one message only (RFC 9111 section 3.1, RFC 9110 section 7.6.1).
        "connection keep-alive proxy-connection te trailer transfer-encoding upgrade "
        "proxy-authenticate proxy-authentication-info proxy-authorization"
    ).split()
)


def is_reusable(head: ResponseHead) -> bool:
    """May this response answer other fetches of the same request, as far as its origin says?"""
    if head.status not in REUSABLE_STATUSES or head.redirects:
        return False
    directives = {directive.partition("=")[0].strip().lower() for directive in _members(head.headers, "cache-control")}
    return directives.isdisjoint({"no-store", "private"}) and "*" not in {name.strip() for name in _members(head.headers, "vary")}


def validators_of(fetch_id: UUID, headers: Headers) -> Validators | None:
    """What asks the origin whether this stored response still holds (RFC 9110 section 13.1), or None when nothing does."""
    pairs = list(headers)
    etag, last_modified = _last(pairs, "etag"), _last(pairs, "last-modified")
    if etag is None and last_modified is None:
        return None
    return Validators(fetch_id=fetch_id, etag=etag, last_modified=last_modified)


def updated_headers(stored: Headers, confirming: Headers) -> tuple[tuple[str, str], ...]:
    """The stored headers with those of the 304 in the place of the same names (RFC 9111 section 3.2)."""
    news = [(name, value) for name, value in confirming if name.lower() not in KEPT_BY_304]
    nominated = {name.strip().lower() for name in _members(confirming, "connection")}
    news = [(name, value) for name, value in news if name.lower() not in nominated]
    replaced = {name.lower() for name, _ in news}
    return (*((name, value) for name, value in stored if name.lower() not in replaced), *news)


def _members(headers: Headers, wanted: str) -> list[str]:
    return [member for name, value in headers if name.lower() == wanted for member in value.split(",")]


def _last(pairs: Sequence[Sequence[str]], wanted: str) -> str | None:
    found = [value.strip() for name, value in pairs if name.lower() == wanted]
    return found[-1] if found and 0 < len(found[-1]) <= VALIDATOR_LIMIT_CHARACTERS else None
