"""Fetches: submit, look, wait, read, list, cancel, retry, plan."""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Unpack
from uuid import uuid4

from pydantic import Field

from fetchwork._calls import Calls
from fetchwork._errors import FetchworkError, WaitTimeout
from fetchwork._fetch_options import FetchOptions, fetch_document
from fetchwork._models import Answer, Fetch, PlanItem
from fetchwork._patience import Patience, Repeat
from fetchwork._transport import read

POLL_FIRST_SECONDS = 0.05
POLL_GROWTH = 1.5
POLL_LIMIT_SECONDS = 1.0
LONG_POLL_SECONDS = 20
"""How long the gateway is asked to wait with one answer; proxies give up on longer ones."""
PLAN_URLS = 100
"""URLs asked about in one request."""


class Plan(Answer):
    """The answer about one request's URLs."""

    items: list[PlanItem] = Field(default_factory=list)


class FetchCalls(Calls):
    """What can be done with fetches."""

    async def submit(
        self, url: str, *, wait_seconds: float = 0, idempotency_key: str | None = None, **options: Unpack[FetchOptions]
    ) -> Fetch:
        """Have one URL fetched; returns once that is promised, or finished when it takes at most `wait_seconds`.

        FetchOptions says what the options are. The same `idempotency_key` brings the same fetch. Raises FetchworkError.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        if wait_seconds > 0:
            headers["Prefer"] = f"wait={math.ceil(wait_seconds)}"
        answer = await self._transport.call(
            "POST",
            "/v1/fetches",
            json=fetch_document(url, options),
            headers=headers,
            repeat=Repeat.ALWAYS,
            reading_seconds=wait_seconds,
        )
        return read(Fetch, answer)

    async def get(self, fetch_id: str, *, wait_seconds: int = 0) -> Fetch:
        """How a fetch is doing now, or, should that be sooner than `wait_seconds`, when it is finished.

        The gateway waits for a shorter time if it wants to. Raises NotFound and other FetchworkErrors.
        """
        headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
        path = f"/v1/fetches/{fetch_id}"
        return read(Fetch, await self._transport.call("GET", path, headers=headers, reading_seconds=wait_seconds))

    async def wait(self, fetch_id: str, *, wait_seconds: float) -> Fetch:
        """The fetch once it is finished. Raises WaitTimeout after `wait_seconds`, and other FetchworkErrors."""
        deadline = time.monotonic() + wait_seconds
        pause = POLL_FIRST_SECONDS
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            fetch = await self.get(fetch_id, wait_seconds=min(int(left), LONG_POLL_SECONDS))
            left = deadline - time.monotonic()
            if fetch.is_finished:
                return fetch
            if left <= 0:
                raise WaitTimeout(fetch)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * POLL_GROWTH, POLL_LIMIT_SECONDS)

    async def content(self, fetch_id: str) -> bytes:
        """The body that was fetched, decoded. Raises NotFound when there is none, and other FetchworkErrors."""
        return (await self._transport.call("GET", f"/v1/fetches/{fetch_id}/content")).content

    async def save_content(self, fetch_id: str, path: Path) -> None:
        """Write the content to a file, without holding it in memory; the file appears once it is whole.

        Raises OSError when it cannot be written, NotFound when there is no content, and other FetchworkErrors.
        """
        patience = Patience(Repeat.ALWAYS)
        part = path.with_name(path.name + ".part")
        try:
            while True:
                try:
                    await self._save(fetch_id, part)
                    os.replace(part, path)
                    return
                except FetchworkError as error:
                    pause = patience.pause_seconds(error)
                    if pause is None:
                        raise
                await asyncio.sleep(pause)
        finally:
            part.unlink(missing_ok=True)

    async def _save(self, fetch_id: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self._transport.open("GET", f"/v1/fetches/{fetch_id}/content") as answer:
                async for chunk in answer.aiter_bytes():
                    file.write(chunk)

    def list_fetches(
        self,
        *,
        status: str | None = None,
        host: str | None = None,
        label: str | None = None,
        batch_id: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Fetch]:
        """Fetches, the newest first: those that match every filter, `limit` at most. Raises FetchworkError."""
        filters = {"status": status, "host": host, "label": label, "batch_id": batch_id}
        return self._walk("/v1/fetches", Fetch, filters, limit)

    async def cancel(self, fetch_id: str) -> Fetch:
        """End a fetch. Raises NotFound, ProblemError with status 409 when it ended otherwise, and other FetchworkErrors."""
        return read(Fetch, await self._transport.call("DELETE", f"/v1/fetches/{fetch_id}"))

    async def retry(self, fetch_id: str) -> Fetch:
        """A new fetch with the same request as a finished one. Raises NotFound and other FetchworkErrors."""
        headers = {"Idempotency-Key": str(uuid4())}
        path = f"/v1/fetches/{fetch_id}/retry"
        return read(Fetch, await self._transport.call("POST", path, headers=headers, repeat=Repeat.ALWAYS))

    async def plan(self, urls: Sequence[str]) -> list[PlanItem]:
        """What would happen to each URL, without fetching any. Raises FetchworkError."""
        items: list[PlanItem] = []
        for start in range(0, len(urls), PLAN_URLS):
            asked = {"urls": list(urls[start : start + PLAN_URLS])}
            answer = await self._transport.call("POST", "/v1/fetches:plan", json=asked, repeat=Repeat.ALWAYS)
            items += read(Plan, answer).items
        return items
