"""Bound request bodies by the bytes that really arrive, whatever Content-Length says, and by the time that they take."""

import asyncio
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems.answers import ProblemType, problem_response

DISCARD_LIMIT_BYTES = 32 * 1024 * 1024
"""How much of a body that is too large is read and thrown away, so that a client still sending can hear the answer."""

NOT_ENCODED = frozenset({b"", b"identity"})


class BodyLimit:
    """ASGI middleware that reads a body up to `limit_bytes` within `timeout_seconds` and hands it on whole, or answers 413, 408.

    Leaves in the request's state when that was read (`read_at`).
    Routes at the paths `streamed` read theirs as it arrives, within bounds of their own. Encoded bodies are refused everywhere: a
    bound on what arrives is none on what it is decoded to.
    """

    def __init__(self, app: ASGIApp, *, limit_bytes: int, timeout_seconds: float, streamed: frozenset[str]) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._timeout_seconds = timeout_seconds
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body in memory, or refuse it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        if _is_encoded(scope):
            detail = "The body has a Content-Encoding; send it as it is."
            await _refuse(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail, scope, receive, send)
            return
        if scope["path"] in self._streamed:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await self._read(receive)
        except ClientDisconnect:
            return  # half of a body is no request, and nobody hears an answer
        except TimeoutError:
            detail = f"The body has not ended after {self._timeout_seconds:g} seconds."
            await _refuse(ProblemType.UPLOAD_STALLED, detail, scope, receive, send)
            return
        if body is None:
            detail = f"The body may have {self._limit_bytes} bytes at most."
            await _refuse(ProblemType.BODY_TOO_LARGE, detail, scope, receive, send)
            return
        scope.setdefault("state", {})["read_at"] = perf_counter()
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


def _is_encoded(scope: Scope) -> bool:
    return any(name == b"content-encoding" and value.strip().lower() not in NOT_ENCODED for name, value in scope["headers"])


async def _refuse(type: ProblemType, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, and read no more of the body. `Accept-Encoding` says what a body may be sent in (RFC 9110 section 15.5.16)."""
    headers = {"Connection": "close"}
    if type is ProblemType.UNSUPPORTED_MEDIA_TYPE:
        headers["Accept-Encoding"] = "identity"
    await problem_response(type, detail, instance=scope["path"], headers=headers)(scope, receive, send)
