"""Submit many URLs and wait for all of them, a bounded number of calls at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from fetchwork._client import Client
from fetchwork._errors import NotAuthorized, ProblemError, WaitTimeout
from fetchwork._results import Result

CALLS_LIMIT = 16

Step = Callable[[Result], Awaitable[None]]


class Run:
    """The targets of one command, and in `results` what is known of each: right at any time, also after an interruption.

    `request` holds the other arguments of `Client.submit`, the same for every URL.
    """

    def __init__(self, targets: Sequence[str], *, request: Mapping[str, Any], wait_seconds: float) -> None:
        self.results = [Result(target=target) for target in targets]
        self._request = request
        self._wait_seconds = wait_seconds

    async def submit(self, client: Client) -> None:
        """Have every URL promised; look up a target that is an id. Raises GatewayUnreachable or NotAuthorized."""

        async def step(result: Result) -> None:
            if _is_id(result.target):
                result.fetch = await client.get(result.target)
            else:
                result.fetch = await client.submit(result.target, **self._request)

        await self._each(step)

    async def wait(self, client: Client, *, on_done: Callable[[], None]) -> None:
        """Wait for all that was promised, all together `wait_seconds` at most. Raises GatewayUnreachable or NotAuthorized."""
        deadline = time.monotonic() + self._wait_seconds

        async def step(result: Result) -> None:
            if result.fetch is None:
                return
            try:
                result.fetch = await client.wait(result.fetch.id, wait_seconds=max(deadline - time.monotonic(), 0.0))
                on_done()
            except WaitTimeout as timeout:
                result.fetch = timeout.fetch

        await self._each(step)

    async def _each(self, step: Step) -> None:
        limit = asyncio.Semaphore(CALLS_LIMIT)

        async def take(result: Result) -> None:
            async with limit:
                try:
                    await step(result)
                except NotAuthorized:
                    raise
                except ProblemError as problem:
                    result.problem = problem

        await asyncio.gather(*(take(result) for result in self.results))


def _is_id(target: str) -> bool:
    try:
        UUID(target)
    except ValueError:
        return False
    return True
