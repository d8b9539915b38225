"""What a promise costs: single POSTs to a gateway whose Redis fsyncs each, and to the same over one that fsyncs nothing.

Both gateways are the product's, with an events Redis of their own that no store reads; their keys come from a stack's store.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from common.streams.connection import connect_redis
from common.streams.names import ACCEPTED_STREAM, STORE_GROUP
from fetchwork_local.environments import service_environments
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from fetchwork_local.stack import Stack
from fetchwork_local.state import recall

from contest.rivals import awake, go_on, stand_still

CONNECTIONS = 32
READY_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 20
MODULES = {"durable": "gateway", "careless": "contest.careless_gateway"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promising:
    """Accepted submissions a second, and how long one took in seconds."""

    per_second: float
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that stands still while it is not asked."""

    pid: int
    url: str
    key: str
    events_url: str

    def promise(self, posts: int) -> Promising:
        """Submit so many, over as many connections as a busy client has, to an empty stream."""
        with awake(self.pid):
            return asyncio.run(self._promise(posts))

    async def _promise(self, posts: int) -> Promising:
        async with connect_redis(self.events_url) as redis:
            await redis.flushall()
            await redis.xgroup_create(ACCEPTED_STREAM, STORE_GROUP, id="0", mkstream=True)
        took: list[float] = []
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(base_url=self.url, headers=headers) as session:
            await _until_ready(session)
            await asyncio.gather(*(_post(session, 5, []) for _ in range(CONNECTIONS)))
            started = time.perf_counter()
            await asyncio.gather(*(_post(session, posts // CONNECTIONS, took) for _ in range(CONNECTIONS)))
            seconds = time.perf_counter() - started
        hundredths = statistics.quantiles(took, n=100)
        return Promising(per_second=len(took) / seconds, p50_seconds=hundredths[49], p99_seconds=hundredths[98])


@contextmanager
def running_gateways(folder: Path, stack: Stack) -> Iterator[dict[str, Gateway]]:
    """Both gateways by their names in MODULES, stopped in the end."""
    with ExitStack() as closing:
        yield {name: closing.enter_context(_gateway(folder / name, name, stack)) for name in MODULES}


@contextmanager
def _gateway(folder: Path, name: str, stack: Stack) -> Iterator[Gateway]:
    state, port = recall(stack.home), free_port()
    assert state is not None
    with embedded_redis(folder, is_durable=name == "durable") as events_url:
        environment = service_environments(state, caller=os.environ)["gateway"] | {
            "FETCHWORK_EVENTS_URL": events_url,
            "FETCHWORK_PORT": str(port),
            "FETCHWORK_METRICS_PORT": str(free_port()),
            "PATH": os.environ["PATH"],
        }
        with subprocess.Popen(
            [sys.executable, "-m", MODULES[name]],
            cwd=Path(__file__).parents[1],
            env=environment | {"PYTHONSAFEPATH": "", "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.DEVNULL,
        ) as process:
            stand_still(process.pid)
            try:
                yield Gateway(
                    pid=process.pid, url=f"http://127.0.0.1:{port}", key=state.secrets.api_key, events_url=events_url
                )
            finally:
                go_on(process.pid)
                process.terminate()
                process.wait(STOP_TIMEOUT_SECONDS)


async def _until_ready(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(READY_TIMEOUT_SECONDS):
        while True:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def _post(session: aiohttp.ClientSession, posts: int, took: list[float]) -> None:
    for number in range(posts):
        began = time.perf_counter()
        async with session.post("/v1/fetches", json={"url": f"http://h{number % 100}.test/{number}"}) as answer:
            if answer.status != 202:
                raise SystemExit(f"not accepted: {answer.status} {(await answer.text())[:300]}")
        took.append(time.perf_counter() - began)
