"""How long a fetch takes when nothing else is under way: from its POST until it is told finished, beyond the origin's time."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import aiohttp
from fetchwork_local.stack import Stack

from contest.pages import Pages
from contest.stack_run import client_of

FETCHES = 200
WAIT = {"Prefer": "wait=20"}
"""The answer comes when the fetch has finished, for a client in a hurry. One that polls would be part of the load."""


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
    async with session.post("/v1/fetches", json={"url": url}, headers=WAIT) as answer:
        answer.raise_for_status()
        status = (await answer.json())["status"]
    if status != "succeeded":
        raise SystemExit(f"{url} is {status} after {WAIT['Prefer']}")
    return time.perf_counter() - began
