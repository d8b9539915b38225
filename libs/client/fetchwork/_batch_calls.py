"""Batches: submit many fetches in one request that is never whole in memory, look, wait."""

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from fetchwork._batch_models import Batch, BatchProgress
from fetchwork._calls import Calls
from fetchwork._errors import BatchWaitTimeout, FetchworkError
from fetchwork._patience import Outage, Repeat
from fetchwork._transport import read

CHUNK_BYTES = 64 * 1024
ANSWER_SECONDS = 120.0
"""How much longer than other answers that to a batch may take: all its lines are on disk by then."""
POLL_FIRST_SECONDS = 0.1
POLL_GROWTH = 1.5
POLL_LIMIT_SECONDS = 2.0

Line = str | bytes | Mapping[str, Any]
"""A URL, or the members of `POST /v1/fetches`, or one line of JSON as it is to be sent."""
Lines = Iterable[Line] | AsyncIterable[Line]


class BatchCalls(Calls):
    """What can be done with batches."""

    async def submit_batch(self, lines: Lines, *, idempotency_key: str | None = None) -> Batch:
        """Have many URLs fetched. The lines are sent while they are made; refused ones are in the answer, by their number.

        When the connection breaks nothing is lost and nothing doubled: the same lines with the same `idempotency_key` bring the
        same fetches. Lines that can be iterated over again (a list, not a generator) are sent again at once, a few times.
        Raises FetchworkError.
        """
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": idempotency_key or str(uuid4())}
        answer = await self._transport.call(
            "POST",
            "/v1/batches",
            body=lambda: _chunks(lines),
            headers=headers,
            repeat=Repeat.NEVER if isinstance(lines, Iterator | AsyncIterator) else Repeat.ALWAYS,
            reading_seconds=ANSWER_SECONDS,
        )
        is_replay = answer.headers.get("Idempotency-Replayed", "") == "true"
        return read(Batch, answer).model_copy(update={"is_replay": is_replay})

    async def get_batch(self, batch_id: str) -> BatchProgress:
        """How a batch is doing now. Raises NotFound and other FetchworkErrors."""
        return read(BatchProgress, await self._transport.call("GET", f"/v1/batches/{batch_id}"))

    async def wait_batch(
        self, batch_id: str, *, wait_seconds: float, on_progress: Callable[[BatchProgress], None] | None = None
    ) -> BatchProgress:
        """The batch once all its fetches are finished; `on_progress` is called with each look at it.

        A gateway that cannot be reached is borne for a minute. Raises BatchWaitTimeout after `wait_seconds`, and other
        FetchworkErrors.
        """
        deadline = time.monotonic() + wait_seconds
        pause = POLL_FIRST_SECONDS
        outage = Outage()
        while True:
            batch = await self._look(batch_id, outage)
            if batch is not None:
                if on_progress:
                    on_progress(batch)
                if batch.finished:
                    return batch
                if time.monotonic() >= deadline:
                    raise BatchWaitTimeout(batch)
            await asyncio.sleep(min(pause, max(deadline - time.monotonic(), POLL_FIRST_SECONDS)))
            pause = min(pause * POLL_GROWTH, POLL_LIMIT_SECONDS)

    async def _look(self, batch_id: str, outage: Outage) -> BatchProgress | None:
        """The batch, or None after a pause when it could not be seen now. Raises FetchworkError when that goes on for long."""
        try:
            batch = await self.get_batch(batch_id)
        except FetchworkError as error:
            await asyncio.sleep(outage.pause_seconds(error))
            return None
        outage.end()
        return batch


async def _chunks(lines: Lines) -> AsyncIterator[bytes]:
    """The lines as NDJSON, in pieces that are worth a packet."""
    chunk = bytearray()
    async for line in _each(lines):
        chunk += (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


async def _each(lines: Lines) -> AsyncIterator[Line]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
    else:
        for line in lines:
            yield line
