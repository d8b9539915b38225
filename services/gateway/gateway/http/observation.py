"""See every request once: a canonical log line, RED metrics, a 503 over the limit, a 500 that says nothing of its cause.

The request's span is FastAPI's own; this middleware runs inside it.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import Gate, GatewayMetrics
from gateway.problems.answers import ProblemType, internal_problem, problem_response
from gateway.problems.types import MEDIA_TYPE, type_of

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECURITY_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"sandbox; default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
}
"""What every answer carries, unless its route says otherwise: our own pages have a policy of their own."""

log = structlog.get_logger()


class Observation:
    """The ASGI middleware around all that can refuse or fail."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics, requests_limit: int) -> None:
        self._app = app
        self._metrics = metrics
        self._requests_limit = requests_limit
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, whatever happens inside, and tell of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        answer = _Answer()

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _secured(message.get("headers", []))
            answer.note(message)
            self._metrics.response_bytes.inc(len(message.get("body", b"")))
            await send(message)

        async def receive_and_note() -> Message:
            message = await receive()
            self._metrics.request_bytes.inc(len(message.get("body", b"")))
            return message

        scope.setdefault("state", {})["aside"] = self._aside
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
        self._under_way += 1
        is_over = self._under_way > self._requests_limit
        self._metrics.note_gate(Gate.REQUESTS, is_closed=is_over)
        with self._metrics.in_progress.track_inprogress():
            try:
                await (_refuse if is_over else self._app)(scope, receive_and_note, send_and_note)
            except asyncio.CancelledError:  # noqa: ASYNC103  # only the server does this, when its patience at the end is over
                log.warning("request cut off", method=method, seconds=round(time.perf_counter() - started, 6))
                if not answer.status:
                    await _say_stopping(scope, receive, send_and_note)
            except Exception:
                log.exception("request failed", method=method)
                if not answer.status:
                    await internal_problem(scope["path"])(scope, receive, send_and_note)
            finally:
                self._under_way -= 1
                if answer.problem is not None:
                    self._metrics.problems.labels(type=answer.problem).inc()
        self._note(method, _route(scope), answer.status, time.perf_counter() - started)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """A request that only waits, in a room with a bound of its own, takes no place of one that works."""
        self._under_way -= 1
        try:
            yield
        finally:
            self._under_way += 1

    def _note(self, method: str, route: str, status: int, seconds: float) -> None:
        self._metrics.requests.labels(method=method, route=route, status_class=f"{status // 100}xx").inc()
        self._metrics.request_seconds.labels(route=route).observe(seconds)
        log.info("request finished", method=method, route=route, status=status, seconds=round(seconds, 6))


class _Answer:
    """What one answer is, as it passes: its status, and which problem, if one."""

    def __init__(self) -> None:
        self.status = 0
        self._problem: bytearray | None = None

    def note(self, message: Message) -> None:
        """One more message of it is sent."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if (b"content-type", MEDIA_TYPE.encode()) in message["headers"]:
                self._problem = bytearray()
            return
        if self._problem is not None:
            self._problem += message.get("body", b"")

    @property
    def problem(self) -> ProblemType | None:
        """Which problem was sent, also as the replay of an earlier answer; None when it was none, or broke off."""
        if self._problem is None:
            return None
        try:
            return type_of(json.loads(self._problem)["type"])
        except ValueError:
            return None


def _secured(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, as ASGI has them (names in lower case), and those of ours that it does not set itself."""
    own = list(headers)
    names = {name for name, _ in own}
    return own + [(name, value) for name, value in SECURITY_HEADERS.items() if name not in names]


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "Too many requests are under way; send it again after `Retry-After` seconds."
    await problem_response(ProblemType.OVERLOADED, detail, instance=scope["path"])(scope, receive, send)


async def _say_stopping(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "Send it again; with the same Idempotency-Key nothing is done twice."
    await problem_response(ProblemType.STOPPING, detail, instance=scope["path"])(scope, receive, send)


def _route(scope: Scope) -> str:
    """The route's template, never the path: paths carry ids and whatever strangers type."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
