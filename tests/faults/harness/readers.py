"""Clients that read while everything is killed: they may be told to come back (503), or not be answered, and nothing else.

What was promised is never unknown (P6), and a fault of a server behind the gateway is never an error of ours (500).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp

from harness.cluster import Cluster

REST_SECONDS = 0.05
ANSWER_TIMEOUT_SECONDS = 10.0
NO_ANSWER = 0

Answers = Counter[tuple[str, int]]
"""By what was asked for, a path without its id, and the status."""


def paths_of(fetch_id: str, new_id: str) -> Sequence[str]:
    """What a client can read: of a fetch that succeeded, of one that was promised just now, and lists."""
    return (
        f"/v1/fetches/{new_id}",
        f"/v1/fetches/{fetch_id}",
        f"/v1/fetches/{fetch_id}/content",
        "/v1/fetches?limit=5",
        "/v1/hosts?limit=5",
        "/v1/key",
        "/v1/keys?limit=5",
        "/v1/dead-letters?limit=5",
        "/v1/audit?limit=5",
    )


@asynccontextmanager
async def reading(cluster: Cluster, paths: Callable[[], Sequence[str]]) -> AsyncIterator[Answers]:
    """Read these again and again while the context is open, one client for each; the answers are counted meanwhile."""
    answers: Answers = Counter()
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:

        async def read(number: int) -> None:
            while True:
                path = paths()[number]
                status = await _read(session, f"{cluster.gateway_url}{path}", key=cluster.api_key)
                answers[_kind(path), status] += 1
                await asyncio.sleep(REST_SECONDS)

        tasks = [asyncio.create_task(read(number)) for number in range(len(paths()))]
        try:
            yield answers
            assert not any(task.done() for task in tasks), "a reader ended"
        finally:
            for task in tasks:
                task.cancel()


async def _read(session: aiohttp.ClientSession, url: str, *, key: str) -> int:
    try:
        async with session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
            await answer.read()
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return NO_ANSWER


def _kind(path: str) -> str:
    return "/".join("{id}" if len(part) == 36 else part for part in path.partition("?")[0].split("/"))
