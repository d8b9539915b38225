"""How long a fetch takes when nothing else is under way: from its POST until it is seen finished, beyond the origin's time."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import aiohttp
from fetchwork_local.stack import Stack

from contest.pages import Pages
from contest.stack_run import client_of

FETCHES = 200
POLL_SECONDS = 0.001
FETCH_TIMEOUT_SECONDS = 30.0
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds beyond what the origin itself takes."""

    p50_seconds: float
    p95_seconds: float


def idle_latency(stack: Stack, pages: Pages) -> Latency:
    """One fetch after another."""
    return asyncio.run(_idle_latency(stack, pages))


async def _idle_latency(stack: Stack, pages: Pages) -> Latency:
    async with client_of(stack.status()) as session, aiohttp.ClientSession(trust_env=False) as plain:
        own = statistics.median([await _get(plain, url) for url in pages.urls(FETCHES)])
        took = [await _fetch(session, url) for url in pages.urls(FETCHES)]
    parts = statistics.quantiles(took, n=20)
    return Latency(p50_seconds=parts[9] - own, p95_seconds=parts[18] - own)


async def _get(session: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    async with session.get(url) as response:
        await response.read()
    return time.perf_counter() - began


async def _fetch(session: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    async with session.post("/v1/fetches", json={"url": url}) as answer:
        answer.raise_for_status()
        path = answer.headers["Location"]
    async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
        while await _status(session, path) not in TERMINAL:
            await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter() - began


async def _status(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as answer:
        answer.raise_for_status()
        return str((await answer.json())["status"])
