"""The body of a batch as lines, whether it is NDJSON, which is never in memory whole, or one JSON document, which has to be."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect, Request

from gateway.batches.limits import BodyLimits
from gateway.batches.splitting import Line, read_lines
from gateway.http.body_limit import DISCARD_LIMIT_BYTES
from gateway.idempotency.keys import Fingerprint
from gateway.problems.answers import Problem, ProblemType

NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
JSON = "application/json"
NOT_ITEMS = 'Send {"items": […]}, an object with the one member `items`, which is an array.'


class BatchBody:
    """The body of one request, read once. `fingerprint` is that of what has arrived."""

    def __init__(self, request: Request, *, limits: BodyLimits) -> None:
        self.fingerprint = Fingerprint(request.scope)
        self._limits = limits
        self._stream = aiter(request.stream())
        self._media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._declared = request.headers.get("content-length", "")

    def lines(self) -> AsyncIterator[Line]:
        """Its lines, as they arrive. Raises Problem, also while they are read, and ClientDisconnect."""
        if self._media_type in NDJSON:
            return read_lines(self._chunks(self._limits.ndjson_bytes), limit_bytes=self._limits.line_bytes)
        if self._media_type == JSON:
            return self._items()
        detail = f"The body was sent as {self._media_type or 'nothing'}; a batch is application/x-ndjson or application/json."
        raise Problem(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail[:300])

    async def skip(self) -> None:
        """Read it to its end for its fingerprint alone. Raises as the lines do."""
        async for _ in self._chunks(self._limits.ndjson_bytes):
            pass

    async def discard(self) -> None:
        """Throw away what still arrives, within bounds, so that a client that is still sending can hear the answer."""
        left_bytes = DISCARD_LIMIT_BYTES
        with suppress(ClientDisconnect, TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(self._limits.idle_seconds):
                while left_bytes > 0:
                    left_bytes -= len(await anext(self._stream))

    async def _chunks(self, limit_bytes: int) -> AsyncGenerator[bytes, None]:
        """What arrives. A body that says at once that it is too large is refused before any of it is read."""
        if self._declared.isdecimal() and int(self._declared) > limit_bytes:
            raise _too_large(limit_bytes)
        received_bytes = 0
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    chunk = await anext(self._stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                detail = f"Nothing arrived for {self._limits.idle_seconds:g} seconds, and the body has not ended."
                raise Problem(ProblemType.UPLOAD_STALLED, detail) from error
            received_bytes += len(chunk)
            if received_bytes > limit_bytes:
                raise _too_large(limit_bytes)
            self.fingerprint.update(chunk)
            yield chunk

    async def _items(self) -> AsyncGenerator[Line, None]:
        """The members of `items`, each as if it were a line of its own."""
        body = bytearray()
        async for chunk in self._chunks(self._limits.json_bytes):
            body += chunk
        try:
            document = from_json(bytes(body), allow_inf_nan=False)
        except ValueError as error:
            raise Problem(ProblemType.MALFORMED_JSON, NOT_ITEMS) from error
        if not isinstance(document, dict) or set(document) != {"items"} or not isinstance(document["items"], list):
            raise Problem.of_members([("items", NOT_ITEMS)])
        for number, item in enumerate(document["items"], start=1):
            content = to_json(item)
            yield Line(number=number, content=content if len(content) <= self._limits.line_bytes else None)


def _too_large(limit_bytes: int) -> Problem:
    return Problem(ProblemType.BODY_TOO_LARGE, f"The body of a batch may have {limit_bytes} bytes at most in this format.")
