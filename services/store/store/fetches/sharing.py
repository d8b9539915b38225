"""Which requests ask for the same thing, as keys. Pure.

Two fetches with one sharing key may be answered by one response; two with one coalesce key may share one exchange and its
failure, too, because they also agree on deadline, size and retries.
"""

import hashlib
from dataclasses import dataclass

from common.contracts.fetches import FetchRequest
from common.contracts.tenants import DEFAULT_TENANT

VERSION = "1"
"""Another rule needs another version, so that keys of two rules never meet."""
CALLER_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"})
"""A caller that asks with conditions of its own gets its own answer (RFC 9110 sections 13.1 and 14.2)."""
SEPARATOR = "\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """The keys of a request. `coalesce_key` is None when only a whole exchange of its own will do."""

    sharing_key: bytes
    coalesce_key: bytes | None


def sharing_of(request: FetchRequest, *, tenant: str) -> Sharing | None:
    """The keys of a tenant's request, or None when its response can never answer another, nor another's it.

    Tenants share nothing. The key of the default one is what it was when there were no others.
    """
    if request.method != "GET":
        return None
    headers = sorted(f"{name.lower()}:{value}" for name, value in request.headers.items())
    if not CALLER_CONDITIONS.isdisjoint(header.partition(":")[0] for header in headers):
        return None
    owner = () if tenant == DEFAULT_TENANT else (tenant,)  # no header is without a colon, no tenant has one
    sharing_key = _digest(VERSION, request.method, request.url, request.robots, *headers, *owner)
    if request.max_age_seconds is None:
        return Sharing(sharing_key=sharing_key, coalesce_key=None)
    retries = request.retries
    limits = (request.timeout_seconds, request.max_bytes, retries.max, retries.backoff_seconds)
    return Sharing(sharing_key=sharing_key, coalesce_key=_digest(sharing_key.hex(), *map(str, limits)))


def _digest(*parts: str) -> bytes:
    return hashlib.sha256(SEPARATOR.join(parts).encode()).digest()
