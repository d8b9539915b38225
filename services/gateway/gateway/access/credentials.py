"""Whether a key is good, and whether who came with one still would be let in: of the first key and of all others."""

import hashlib
import hmac

import structlog
from common.clock import Clock

from gateway.access.api_keys import read_key
from gateway.access.key_ring import KeyRing
from gateway.access.key_use import KeyUseReporter
from gateway.access.key_verdicts import judge_key
from gateway.metrics import KeyRefusal
from gateway.principal import Principal

ACTOR_DIGITS = 8
"""Hexadecimal digits of the SHA-256 of the first key that name it: enough to tell keys apart, useless for guessing one."""

log = structlog.get_logger()


class Credentials:
    """Judges keys, and what stands for them. Compares digests, in constant time."""

    def __init__(self, *, first_key: str, ring: KeyRing, uses: KeyUseReporter, clock: Clock) -> None:
        self._first_digest = hashlib.sha256(first_key.encode()).hexdigest()
        self._first = Principal(actor=f"key:{self._first_digest[:ACTOR_DIGITS]}", digest=self._first_digest)
        self._ring = ring
        self._uses = uses
        self._clock = clock

    async def judge(self, given: bytes | None) -> Principal | KeyRefusal:
        """Who came with this key, or why it is refused. Raises StoreUnavailable."""
        if given is None:
            return KeyRefusal.MISSING
        if hmac.compare_digest(hashlib.sha256(given).hexdigest(), self._first_digest):
            return self._first
        key = read_key(given.decode("latin-1"))
        if key is None:
            return KeyRefusal.MALFORMED
        record = await self._ring.find(key.id)
        found = judge_key(record, key.digest, now=self._clock())
        if isinstance(found, KeyRefusal):
            log.info("key refused", key=key.id, reason=found)
        else:
            self._uses.note(key.id)
        return found

    async def judge_holder(self, holder: Principal | None) -> Principal | KeyRefusal:
        """Whom a secret stands for, if its maker would still be let in with its scopes. Raises StoreUnavailable."""
        if holder is None:
            return KeyRefusal.UNKNOWN
        if holder.key_id is None:  # made with a first key, which may have been another one then
            return holder if holder.digest == self._first_digest else KeyRefusal.REVOKED
        await self._ring.find(holder.key_id)
        return holder if self._ring.is_good(holder, now=self._clock()) else KeyRefusal.REVOKED
