"""Who may ask: every path of the API needs a known key, before any body is read. Says who asked without telling the key.

All who are refused get the same answer, whatever was wrong with their key.
"""

import hashlib
import hmac

import structlog
from common.clock import Clock
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.api_keys import read_key
from gateway.access.key_ring import KeyRing
from gateway.access.key_use import KeyUseReporter
from gateway.access.key_verdicts import judge_key
from gateway.access.tickets import Tickets, feed_ticket
from gateway.errors import FeedUnavailable, StoreUnavailable
from gateway.metrics import GatewayMetrics, KeyRefusal
from gateway.principal import Principal
from gateway.problems.answers import ProblemType, gateway_error_response, problem_response

PROTECTED_PREFIXES = ("/v1/", "/v2/")
ACTOR_DIGITS = 8
"""Hexadecimal digits of the SHA-256 of the first key that name it: enough to tell keys apart, useless for guessing one."""
REFUSED = "Send the header `Authorization: Bearer KEY` with a key of this deployment."
UNKNOWN_YET = "Nobody can say right now whether this key is known; send it again."

log = structlog.get_logger()


class Authentication:
    """ASGI middleware that refuses requests without a good key. Compares digests, in constant time.

    Leaves in the request's state who asks: its `principal`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        first_key: str,
        ring: KeyRing,
        uses: KeyUseReporter,
        tickets: Tickets,
        clock: Clock,
        metrics: GatewayMetrics,
    ) -> None:
        self._app = app
        self._first_digest = hashlib.sha256(first_key.encode()).hexdigest()
        self._first = Principal(actor=f"key:{self._first_digest[:ACTOR_DIGITS]}", digest=self._first_digest)
        self._ring = ring
        self._uses = uses
        self._tickets = tickets
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401; 503 while nobody can say whether the key is known."""
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED_PREFIXES):
            await self._app(scope, receive, send)
            return
        try:
            ticket = feed_ticket(scope)
            found = await (self._principal(_bearer(scope)) if ticket is None else self._holder(ticket))
        except (StoreUnavailable, FeedUnavailable) as error:
            await gateway_error_response(error, instance=scope["path"], detail=UNKNOWN_YET)(scope, receive, send)
            return
        if isinstance(found, KeyRefusal):
            self._metrics.refused_keys.labels(reason=found).inc()
            response = problem_response(ProblemType.UNAUTHENTICATED, REFUSED, instance=scope["path"])
            await response(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = found
        await self._app(scope, receive, send)

    async def _holder(self, ticket: str) -> Principal | KeyRefusal:
        """Who came with this ticket, if its maker would still be let in. Raises FeedUnavailable and StoreUnavailable."""
        holder = await self._tickets.find_holder(ticket)
        if holder is None:
            return KeyRefusal.UNKNOWN
        if holder.key_id is None:  # made with a first key, which may have been another one then
            return holder if holder.digest == self._first_digest else KeyRefusal.REVOKED
        await self._ring.find(holder.key_id)
        return holder if self._ring.is_good(holder, now=self._clock()) else KeyRefusal.REVOKED

    async def _principal(self, given: bytes | None) -> Principal | KeyRefusal:
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


def _bearer(scope: Scope) -> bytes | None:
    """The credentials of the one `Authorization: Bearer` (RFC 6750 section 2.1), None without."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, given = (values[0] if len(values) == 1 else b"").partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else None
