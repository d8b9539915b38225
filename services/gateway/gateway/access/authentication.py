"""Who may ask: every path of the API needs a known key, before any body is read. Says who asked without telling the key.

All who are refused get the same answer, whatever was wrong with their key.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.credentials import Credentials
from gateway.access.tickets import Tickets, feed_ticket
from gateway.errors import FeedUnavailable, StoreUnavailable
from gateway.metrics import GatewayMetrics, KeyRefusal
from gateway.problems.answers import ProblemType, gateway_error_response, problem_response

PROTECTED_PREFIXES = ("/v1/", "/v2/")
REFUSED = "Send the header `Authorization: Bearer KEY` with a key of this deployment."
UNKNOWN_YET = "Nobody can say right now whether this key is known; send it again."


class Authentication:
    """ASGI middleware that refuses requests without a good key.

    Leaves in the request's state who asks: its `principal`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        credentials: Credentials,
        tickets: Tickets,
        metrics: GatewayMetrics,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._tickets = tickets
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401; 503 while nobody can say whether the key is known."""
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED_PREFIXES):
            await self._app(scope, receive, send)
            return
        try:
            ticket = feed_ticket(scope)
            if ticket is None:
                found = await self._credentials.judge(_bearer(scope))
            else:
                found = await self._credentials.judge_holder(await self._tickets.find_holder(ticket))
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


def _bearer(scope: Scope) -> bytes | None:
    """The credentials of the one `Authorization: Bearer` (RFC 6750 section 2.1), None without."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, given = (values[0] if len(values) == 1 else b"").partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else None
