"""Bound request bodies by the bytes that really arrive, whatever Content-Length says."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import ProblemType, problem_response

DISCARD_LIMIT_BYTES = 32 * 1024 * 1024
"""How much of a body that is too large is read and thrown away, so that a client still sending can hear the answer."""


class BodyLimit:
    """ASGI middleware that reads a body up to `limit_bytes` and hands it on whole, or answers 413.

    Routes at the paths `streamed` read theirs as it arrives, within bounds of their own.
    """

    def __init__(self, app: ASGIApp, *, limit_bytes: int, streamed: frozenset[str]) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body in memory, or refuse it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"] in self._streamed:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(receive)
        except ClientDisconnect:
            return  # half of a body is no request, and nobody hears an answer
        if body is None:
            detail = f"The body may have {self._limit_bytes} bytes at most."
            response = problem_response(
                ProblemType.BODY_TOO_LARGE, detail, instance=scope["path"], headers={"Connection": "close"}
            )
            await response(scope, receive, send)
            return
        await self._app(scope, replay_body(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, or None when it is over the limit. Raises ClientDisconnect when it breaks off."""
        body, received_bytes = bytearray(), 0
        while received_bytes <= DISCARD_LIMIT_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            received_bytes += len(chunk)
            if received_bytes <= self._limit_bytes:
                body += chunk
            if not message.get("more_body", False):
                break
        return bytes(body) if received_bytes <= self._limit_bytes else None


def replay_body(body: bytes, receive: Receive) -> Receive:
    """What hands a body on that was read already, and then whatever comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
