"""A worker is alive by what it takes out of the queue: one that is deaf ends itself, one that has nothing to do does not."""

import asyncio
from urllib.error import HTTPError
from typing import Any

import pytest
from common.streams.names import ATTEMPTED_STREAM, COMMAND_QUEUE, WORKER_KEY_PREFIX
from deaf_broker import deaf_broker
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from worker_rig import Gate, Worker

from fetcher.process import STUCK_EXIT_CODE

pytest_plugins = ("worker_fixtures",)
STUCK_SECONDS = 2


async def _progress(worker: Worker) -> float:
    families = text_string_to_metric_families(await worker.operations("/metrics"))
    [family] = [one for one in families if one.name == "fetchwork_worker_progress_timestamp_seconds"]
    return family.samples[0].value


async def _stays_alive(worker: Worker, until: Any) -> None:
    """Progress goes on for longer than a stuck worker would live."""
    since = await _progress(worker)

    async def is_ahead() -> bool:
        return await _progress(worker) > since + 2 * STUCK_SECONDS

    await until(is_ahead, seconds=20)
    assert await worker.operations("/livez") == "ok\n" and worker.process.poll() is None


async def _nobody_listens(broker: Redis) -> bool:
    return not any("b" in client["flags"] for client in await broker.client_list())


async def test_a_worker_that_hears_nothing_of_its_queue_says_so_and_ends_itself(
    launch: Any, send: Any, command: Any, broker_url: str, broker: Redis, until: Any
) -> None:
    async with deaf_broker(broker_url) as proxy:
        proxy.is_deaf = True
        worker = launch(BROKER_URL=proxy.url, STUCK_SECONDS=str(STUCK_SECONDS))
        await until(lambda: broker.keys(f"{WORKER_KEY_PREFIX}*"), seconds=20)
        await _stays_alive(worker, until)  # deaf, but nothing waits
        await send(command("http://127.0.0.1:9"))
        assert await worker.exit_code() == STUCK_EXIT_CODE
    [line] = worker.lines("worker stuck")
    assert (line["level"], line["seconds"]) == ("error", STUCK_SECONDS)
    assert await broker.llen(COMMAND_QUEUE) == 1 and not await broker.keys(f"{WORKER_KEY_PREFIX}*")


async def test_a_stuck_worker_is_not_alive_while_its_last_attempts_end(
    launch: Any, send: Any, serve: Any, command: Any, broker_url: str, broker: Redis, events: Redis, until: Any
) -> None:
    gate = Gate()
    async with deaf_broker(broker_url) as proxy:
        worker = launch(BROKER_URL=proxy.url, STUCK_SECONDS=str(STUCK_SECONDS))
        await until(lambda: broker.keys(f"{WORKER_KEY_PREFIX}*"), seconds=20)
        await send(command(await serve({"/": gate.answer})))
        await until(lambda: gate.waiting == 1)
        proxy.is_deaf = True
        await until(lambda: _nobody_listens(broker), seconds=10)
        await send(command("http://127.0.0.1:9"))
        await until(lambda: worker.lines("worker stuck"), seconds=20)
        with pytest.raises(HTTPError) as failure:
            await worker.operations("/livez")
        reason = await asyncio.to_thread(failure.value.read)
        assert b"[-]worker failed: took none of the waiting commands for 2 s, with slots free" in reason
        gate.open.set()
        assert await worker.exit_code() == STUCK_EXIT_CODE
    assert await events.xlen(ATTEMPTED_STREAM) == 1


async def test_an_idle_worker_is_alive(launch: Any, broker: Redis, until: Any) -> None:
    worker = launch(STUCK_SECONDS=str(STUCK_SECONDS))
    await until(lambda: broker.keys(f"{WORKER_KEY_PREFIX}*"), seconds=20)
    await _stays_alive(worker, until)


async def test_a_busy_worker_is_alive_whatever_waits(
    launch: Any, send: Any, serve: Any, command: Any, broker: Redis, until: Any
) -> None:
    gate = Gate()
    base = await serve({"/": gate.answer})
    worker = launch(STUCK_SECONDS=str(STUCK_SECONDS), FETCHER_SLOTS="1", FETCHER_THREADS="1")
    await until(lambda: broker.keys(f"{WORKER_KEY_PREFIX}*"), seconds=20)
    for _ in range(8):
        await send(command(base))
    await until(lambda: gate.waiting == 1)
    assert await broker.llen(COMMAND_QUEUE)
    await _stays_alive(worker, until)


async def test_a_worker_without_a_broker_is_alive_and_not_ready(launch: Any, until: Any) -> None:
    worker = launch(STUCK_SECONDS=str(STUCK_SECONDS), BROKER_URL="redis://127.0.0.1:1")
    await until(lambda: worker.lines("announcement failed") and worker.lines("fetcher started"), seconds=20)
    await _stays_alive(worker, until)
    with pytest.raises(HTTPError) as failure:
        await worker.operations("/readyz")
    assert b"[-]broker failed: ConnectionRefusedError: cannot connect" in await asyncio.to_thread(failure.value.read)
