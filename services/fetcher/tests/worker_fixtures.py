"""The fixtures of what worker_rig has. A test file asks for them by `pytest_plugins`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.fetches import PerformFetch
from common.streams.names import COMMAND_QUEUE, WORKER_KEY_PREFIX
from redis.asyncio import Redis
from worker_rig import EXIT_TIMEOUT_SECONDS, Worker, message_of

Until = Callable[..., Awaitable[Any]]


@pytest.fixture
def launch(events_url: str, broker_url: str, measured: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start `python -m fetcher`; what still runs after the test is killed."""
    workers: list[Worker] = []

    def start(**settings: str) -> Worker:
        environment = {
            **measured,
            "PATH": os.environ["PATH"],
            "FETCHWORK_EVENTS_URL": events_url,
            "FETCHWORK_BROKER_URL": broker_url,
            "FETCHWORK_STORE_URL": "http://127.0.0.1:1",
            "FETCHWORK_STORE_TOKEN": "0123456789abcdef",
            "FETCHWORK_METRICS_PORT": "0",
            "FETCHWORK_UNSAFE_TARGET_NETWORKS": "127.0.0.0/8",
        } | {f"FETCHWORK_{name}": value for name, value in settings.items()}
        log = tmp_path / f"fetcher-{len(workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen([sys.executable, "-m", "fetcher"], env=environment, stdout=output, stderr=output)
        workers.append(Worker(process, log))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait(EXIT_TIMEOUT_SECONDS)


@pytest.fixture
async def worker(launch: Callable[..., Worker], broker: Redis, events: Redis, until: Until) -> AsyncIterator[Worker]:
    """A fetcher that has announced itself, over empty Redis servers."""
    started = launch(FETCHER_SLOTS="4", FETCHER_THREADS="1")
    await until(lambda: broker.keys(f"{WORKER_KEY_PREFIX}*"), seconds=20)
    yield started


@pytest.fixture
def send(broker_url: str) -> Iterator[Callable[..., Awaitable[None]]]:
    """Send a batch as the store's dispatcher does: one Celery message with one JSON string."""
    app = Celery(broker=broker_url, set_as_current=False)

    async def publish(*commands: PerformFetch, raw: str | None = None, task: str = FETCH_PERFORM) -> None:
        message = raw or message_of(*commands)
        await asyncio.to_thread(app.send_task, task, args=[message], queue=COMMAND_QUEUE, ignore_result=True)

    yield publish
    app.close()
