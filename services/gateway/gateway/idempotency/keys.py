"""Requests that came with an Idempotency-Key: how the key is read, where its record is, and what makes two requests the same.

Follows draft-ietf-httpapi-idempotency-key-header-06. Knows nothing of what is remembered.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from starlette.types import Scope

HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
"""The header that tells an answer which was given before."""
RECORD_PREFIX = "fetchwork:v1:idempotency:"
DIGEST_BYTES = 16
"""Of the SHA-256 of tenant and key: nobody finds a key of his own that has another tenant's record."""
KEY_LIMIT_CHARACTERS = 255
QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])+)"')
"""A String of Structured Fields (RFC 9651 section 3.3.3), without parameters."""
BARE = re.compile(rb"[!#-+\--:<-~]+")
"""The same without quotes, as many clients send it: no blank, quote, comma or semicolon, which would end or join values."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER_BITS = 32
HASH_BITS = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request that came with an Idempotency-Key.

    `record` is the Redis key of what is known about it, `fingerprint` what it asks, None while its body is still coming, and
    `bearer` the credentials that it presented.
    """

    tenant: str
    record: str
    fingerprint: bytes | None
    bearer: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The id (UUID version 7) and the time of what a request creates. A request that comes again has those of its first try."""

    id: UUID
    at: datetime

    @classmethod
    def read(cls, id: bytes, at: bytes) -> Self:
        """As a record holds it."""
        return cls(id=UUID(id.decode()), at=EPOCH + timedelta(microseconds=int(at)))

    @property
    def microseconds(self) -> int:
        """Its time as a record holds it, since 1970: exact, and short in Redis."""
        return (self.at - EPOCH) // timedelta(microseconds=1)

    def nth(self, number: int, content: bytes = b"") -> UUID:
        """The id of one of many things that the request creates; sorts by time and then by `number`, which has 32 bits.

        The number stands where RFC 9562 section 6.2 has counters; the rest comes from the reserved id and `content`: other
        content under the same number is another thing.
        """
        digest = hashlib.sha256(self.id.bytes + number.to_bytes(NUMBER_BITS // 8, "big") + content).digest()
        random = number << HASH_BITS | int.from_bytes(digest, "big") >> (256 - HASH_BITS)
        milliseconds = self.id.int >> 80
        return UUID(int=milliseconds << 80 | 0x7 << 76 | random >> 62 << 64 | 0b10 << 62 | random & (1 << 62) - 1)


def read_key(values: Sequence[bytes]) -> bytes | None:
    """The key that a request's Idempotency-Key headers name, quoted or not; None when it is malformed or not exactly one."""
    value = values[0].strip(b" \t") if len(values) == 1 else b""
    if quoted := QUOTED.fullmatch(value):
        key = re.sub(rb"\\(.)", rb"\1", quoted[1])
    else:
        key = value if BARE.fullmatch(value) else b""
    return key if 0 < len(key) <= KEY_LIMIT_CHARACTERS else None


def record_name(tenant: str, key: bytes) -> str:
    """The Redis key of the record of a tenant's idempotency key; tenants have no NUL in their names."""
    digest = hashlib.sha256(tenant.encode() + b"\0" + key).digest()[:DIGEST_BYTES]
    return RECORD_PREFIX + urlsafe_b64encode(digest).rstrip(b"=").decode()


def bearer_of(scope: Scope) -> bytes:
    """The credentials that a request presented, as they came."""
    return b"\0".join(value for name, value in scope["headers"] if name == b"authorization")


class Fingerprint:
    """SHA-256 over method, path, query and body of a request; the body comes in any number of parts."""

    def __init__(self, scope: Scope) -> None:
        path = scope.get("raw_path") or scope["path"].encode()
        self._hash = hashlib.sha256(b"\0".join((scope["method"].encode(), path, scope["query_string"], b"")))

    def update(self, part: bytes) -> None:
        """Add the next bytes of the body."""
        self._hash.update(part)

    def digest(self) -> bytes:
        """The fingerprint of what came so far."""
        return self._hash.digest()
