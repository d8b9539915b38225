"""Who may ask: every path under /v1 needs a known API key, before any body is read. Says who asked without telling the key."""

import hashlib
import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import FeedUnavailable
from gateway.principal import Principal
from gateway.problems import ProblemType, problem_response
from gateway.tickets import Tickets, feed_ticket

PROTECTED_PREFIX = "/v1/"
ACTOR_DIGITS = 8
"""Hexadecimal digits of the SHA-256 of a key that name it: enough to tell keys apart, useless for guessing one."""


def is_let_in(principal: Principal) -> bool:
    """Whether a caller who was let in still would be. The first key is good for as long as the process runs."""
    return principal.key_id is None


class Authentication:
    """ASGI middleware that refuses requests without the key. Compares digests, in constant time.

    Leaves in the request's state who asks: its `principal`, whose actor is the beginning of the key's digest.
    """

    def __init__(self, app: ASGIApp, *, api_key: str, tickets: Tickets) -> None:
        self._app = app
        self._tickets = tickets
        self._digest = hashlib.sha256(api_key.encode()).digest()
        self._first = Principal(actor=f"key:{self._digest.hex()[:ACTOR_DIGITS]}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED_PREFIX):
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._find_principal(scope)
        except FeedUnavailable:
            detail = "The ticket cannot be looked up right now; send it again."
            await problem_response(ProblemType.FEED_UNAVAILABLE, detail, instance=scope["path"])(scope, receive, send)
            return
        if principal is not None:
            scope.setdefault("state", {})["principal"] = principal
            await self._app(scope, receive, send)
            return
        detail = "Send the header `Authorization: Bearer KEY` with a key of this deployment."
        response = problem_response(ProblemType.UNAUTHENTICATED, detail, instance=scope["path"])
        await response(scope, receive, send)

    async def _find_principal(self, scope: Scope) -> Principal | None:
        """Who asks: by a ticket where it opens something, else by a key."""
        ticket = feed_ticket(scope)
        if ticket is None:
            return self._first if self._is_known(scope) else None
        holder = await self._tickets.find_holder(ticket)
        return holder if holder is not None and is_let_in(holder) else None

    def _is_known(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, key = (values[0] if len(values) == 1 else b"").partition(b" ")
        is_equal = hmac.compare_digest(hashlib.sha256(key.strip()).digest(), self._digest)
        return is_equal and scheme.lower() == b"bearer"
