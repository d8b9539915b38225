"""The bare loop: one process, aiohttp on uvloop, 64 connections, every body read and dropped. No record, no pace, no guard.

`bare_loop.py FILE` fetches the URLs of the file, one a line, and prints JSON: how many, in how many seconds.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import uvloop

CONNECTIONS = 64
TIMEOUT_SECONDS = 30


async def _fetch(session: aiohttp.ClientSession, urls: Iterator[str]) -> int:
    fetched = 0
    for url in urls:
        async with session.get(url) as response:
            await response.read()
            fetched += response.status == 200
    return fetched


async def _run(urls: list[str]) -> None:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        rest, started = iter(urls), time.perf_counter()
        fetched = sum(await asyncio.gather(*(_fetch(session, rest) for _ in range(CONNECTIONS))))
        seconds = time.perf_counter() - started
    print(json.dumps({"fetches": fetched, "seconds": seconds}))


if __name__ == "__main__":
    uvloop.run(_run(Path(sys.argv[1]).read_text().split()))
