"""Who may ask: paths under /v1 and /v2 need a known API key, before any body is read. Says who asked without telling the key."""

import hashlib
import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.principal import Principal
from gateway.problems import ProblemType, problem_response

PROTECTED_PREFIXES = ("/v1/", "/v2/")
ACTOR_DIGITS = 8
"""Hexadecimal digits of the SHA-256 of a key that name it: enough to tell keys apart, useless for guessing one."""


class Authentication:
    """ASGI middleware that refuses requests without the key. Compares digests, in constant time.

    Leaves in the request's state who asks: its `principal`, whose actor is the beginning of the key's digest.
    """

    def __init__(self, app: ASGIApp, *, api_key: str) -> None:
        self._app = app
        self._digest = hashlib.sha256(api_key.encode()).digest()
        self._first = Principal(actor=f"key:{self._digest.hex()[:ACTOR_DIGITS]}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED_PREFIXES):
            await self._app(scope, receive, send)
            return
        if self._is_known(scope):
            scope.setdefault("state", {})["principal"] = self._first
            await self._app(scope, receive, send)
            return
        detail = "Send the header `Authorization: Bearer KEY` with a key of this deployment."
        response = problem_response(ProblemType.UNAUTHENTICATED, detail, instance=scope["path"])
        await response(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, key = (values[0] if len(values) == 1 else b"").partition(b" ")
        is_equal = hmac.compare_digest(hashlib.sha256(key.strip()).digest(), self._digest)
        return is_equal and scheme.lower() == b"bearer"
