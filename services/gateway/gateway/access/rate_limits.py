"""Keep the quota of requests, and tell each caller how much is left (draft-ietf-httpapi-ratelimit-headers-11).

Keys without limits pass untouched: no call, no header.
"""

from collections.abc import Mapping

import structlog
from common.contracts.keys import KeyLimits
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.quotas import WINDOW_SECONDS, Quotas, Window, noting_charges
from gateway.errors import EventsUnavailable, Limit, QuotaExceeded
from gateway.metrics import GatewayMetrics
from gateway.principal import Principal
from gateway.problems.answers import ProblemType, gateway_error_response, problem_response

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110, section 9.2.1: what changes nothing goes through uncounted while nobody can count."""

log = structlog.get_logger()


class RateLimits:
    """ASGI middleware inside the authentication: counts the requests of limited keys, and writes the headers of their answers.

    While the events Redis is away reads go through without headers, and everything else is refused.
    """

    def __init__(self, app: ASGIApp, *, quotas: Quotas, metrics: GatewayMetrics) -> None:
        self._app = app
        self._quotas = quotas
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429, or 503 when it cannot be counted."""
        principal: Principal | None = scope.get("state", {}).get("principal") if scope["type"] == "http" else None
        if principal is None or not (policy := _policy(principal.limits)):
            await self._app(scope, receive, send)
            return
        with noting_charges() as charged:

            async def send_with_limits(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _write(MutableHeaders(scope=message), policy, charged)
                await send(message)

            try:
                await self._quotas.charge_request(principal)
            except QuotaExceeded as error:
                self._metrics.quota_refusals.labels(limit=error.limit).inc()
                await gateway_error_response(error, instance=scope["path"])(scope, receive, send_with_limits)
            except EventsUnavailable as error:
                log.warning("request not counted", reason=str(error))
                await self._go_uncounted(scope, receive, send)
            else:
                await self._app(scope, receive, send_with_limits)

    async def _go_uncounted(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE_METHODS:
            self._metrics.quota_uncounted.inc()
            await self._app(scope, receive, send)
            return
        detail = "The requests of this key cannot be counted right now; send it again, nothing was done."
        await problem_response(ProblemType.EVENTS_UNAVAILABLE, detail, instance=scope["path"])(scope, receive, send)


def _policy(limits: KeyLimits) -> str:
    """The policies of a key, empty when it has none. They count over a window; how much may be queued is none of them."""
    quotas = {Limit.REQUESTS: limits.requests_per_minute, Limit.FETCHES: limits.fetches_per_minute}
    return ", ".join(f'"{limit}";q={quota};w={WINDOW_SECONDS}' for limit, quota in quotas.items() if quota is not None)


def _write(headers: MutableHeaders, policy: str, charged: Mapping[Limit, Window]) -> None:
    """Name the policies, and of each that this request was charged for what is left and for how long no more.

    Whoever has nothing left is told to come back no sooner than that, whatever the answer itself would have said.
    """
    headers["RateLimit-Policy"] = policy
    if charged:
        headers["RateLimit"] = ", ".join(
            f'"{limit}";r={window.remaining};t={window.seconds}' for limit, window in charged.items()
        )
    soonest = max((window.seconds for window in charged.values() if not window.remaining), default=0)
    if int(headers.get("Retry-After", soonest)) < soonest:
        headers["Retry-After"] = str(soonest)
