"""Clients: they submit, try again as a good client would, and write down what they were promised."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from harness.cluster import Cluster
from harness.journal import Journal, Promise

ANSWER_TIMEOUT_SECONDS = 5.0
TRY_AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
CONCURRENCY = 32
COME_AGAIN = (0, 409, 429, 503)
"""What a client may be told, or no answer, and tries again; anything else is a fault of the product."""
REQUEST: dict[str, Any] = {"timeout_seconds": 3.0, "retries": {"max": 5, "backoff_seconds": 0.1}}


class Load:
    """One population of clients. `answers` counts what they were answered, by status; 0 is no answer at all."""

    def __init__(self, cluster: Cluster, journal: Journal, session: aiohttp.ClientSession, *, prefix: str) -> None:
        self.journal = journal
        self.answers: Counter[int] = Counter()
        self.submitted: list[str] = []
        self.retry_after = ""
        """What the latest 429 or 503 said of when to come again."""
        self.last_id: str | None = None
        """The id of the latest 202."""
        self._cluster = cluster
        self._session = session
        self._prefix = prefix
        self._gate = asyncio.Semaphore(CONCURRENCY)

    def token(self) -> str:
        """A new one."""
        token = f"{self._prefix}-{len(self.submitted)}"
        self.submitted.append(token)
        return token

    async def try_once(self, token: str, *, seconds: float = 0.0, **request: Any) -> tuple[int, str | None]:
        """One POST: the status (0 without an answer) and, when it is 202, the id, which is in the journal by then.

        `seconds` is how long the origin takes; the token is the Idempotency-Key, so that a try again is the same fetch.
        """
        url = self._cluster.origin.url(token, seconds=seconds)
        sent_at = time.time()
        try:
            async with self._session.post(
                f"{self._cluster.gateway_url}/v1/fetches",
                json={"url": url, **REQUEST, **request},
                headers={"Authorization": f"Bearer {self._cluster.api_key}", "Idempotency-Key": token},
            ) as answer:
                document = await answer.json(content_type=None)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self.answers[0] += 1
            return 0, None
        self.answers[status] += 1
        if status in (429, 503):
            self.retry_after = answer.headers.get("Retry-After", "")
        if status != 202:
            return status, None
        self.journal.write(Promise(token=token, id=document["id"], sent_at=sent_at, received_at=time.time()))
        self.last_id = document["id"]
        return status, document["id"]

    async def submit(self, token: str | None = None, *, seconds: float = 0.0, **request: Any) -> str:
        """POST until accepted; the id. Raises AssertionError when that takes a minute, or the answer is a refusal for good."""
        token = token or self.token()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            async with self._gate:
                status, identifier = await self.try_once(token, seconds=seconds, **request)
            if identifier is not None:
                return identifier
            assert status in COME_AGAIN, f"{token}: {status}"
            assert time.monotonic() < deadline, f"{token} was not accepted in {PATIENCE_SECONDS} s: {self.answers}"
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def submit_many(self, count: int, *, seconds: float = 0.0, **request: Any) -> list[str]:
        """So many, some at a time; their ids in order."""
        tokens = [self.token() for _ in range(count)]
        return await asyncio.gather(*(self.submit(token, seconds=seconds, **request) for token in tokens))

    @asynccontextmanager
    async def steady(self, *, per_second: float, seconds: Iterable[float] = (0.0,), **request: Any) -> AsyncIterator[None]:
        """Submit at a steady rate while the context is open, whatever becomes of it; leaving it waits until all are accepted.

        The origin takes the given seconds, in turns.
        """
        stopping = asyncio.Event()
        submitting = asyncio.create_task(self._submit_steadily(stopping, per_second, list(seconds), request))
        try:
            yield
        finally:
            stopping.set()
            await submitting

    async def _submit_steadily(
        self, stopping: asyncio.Event, per_second: float, seconds: list[float], request: dict[str, Any]
    ) -> None:
        began, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                while number < (time.monotonic() - began) * per_second:
                    group.create_task(self.submit(seconds=seconds[number % len(seconds)], **request))
                    number += 1
                await asyncio.sleep(min(0.05, 1 / per_second))


@asynccontextmanager
async def open_load(cluster: Cluster, *, prefix: str) -> AsyncIterator[Load]:
    """Clients of a cluster. Tokens begin with `prefix`."""
    journal = Journal(cluster.folder / f"{prefix}.journal")
    connector = aiohttp.TCPConnector(limit=2 * CONCURRENCY)
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield Load(cluster, journal, session, prefix=prefix)
    journal.close()
