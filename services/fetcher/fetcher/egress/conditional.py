"""Conditional requests with the validators of a response that we already have (RFC 9110 section 13)."""

import re

from common.contracts.fetches import FetchRequest, Validators

CONDITIONAL_HEADERS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"))
"""With one of these the caller asks something of its own, and gets the answer as it comes."""

_SENDABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1022}[\x21-\x7e])?")


def conditional_headers(request: FetchRequest, validators: Validators | None) -> dict[str, str]:
    """The headers that make the first hop conditional; none when it is not a GET or has conditions of the caller's own.

    An origin compares `If-None-Match` when it has both (RFC 9110 section 13.2.2); the date is for those that know no tags.
    A validator that a field value cannot carry as it came is left out: altered, it would match nothing or, worse, something.
    """
    if validators is None or request.method != "GET" or CONDITIONAL_HEADERS & {name.lower() for name in request.headers}:
        return {}
    named = {"If-None-Match": validators.etag, "If-Modified-Since": validators.last_modified}
    return {name: value for name, value in named.items() if value is not None and _SENDABLE.fullmatch(value)}
