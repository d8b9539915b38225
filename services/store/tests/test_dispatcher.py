"""The dispatcher over a real broker: only what workers have slots for, again after a wipe, and nothing lost without one."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import PerformFetches
from common.streams.names import BROKER_MARKER, COMMAND_QUEUE, TRAIN_WORKER_KEY_PREFIX, WORKER_KEY_PREFIX
from ledger_words import PACE, accept_events, accepted
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.dispatch.claim import Lease
from store.dispatch.commands import CommandSender, create_celery_app
from store.dispatch.dispatcher import Dispatcher, DispatchLimits
from store.errors import BrokerUnavailable
from store.hosts.pace import PaceSettings
from store.metrics import StoreMetrics

LIMITS = DispatchLimits(claim_fetches=20, batch_fetches=8, leased_fetches=1000, rounds=2.0, poll_seconds=0.01)
LEASE = Lease(margin_seconds=30, abandon_after_dispatches=5)


@asynccontextmanager
async def _dispatcher(
    pool: Pool, broker: Redis, broker_url: str, limits: DispatchLimits = LIMITS, pace: PaceSettings = PACE
) -> AsyncIterator[Dispatcher]:
    sender = CommandSender(create_celery_app(broker_url), source="store/t")
    yield Dispatcher(pool=pool, broker=broker, sender=sender, limits=limits, lease=LEASE, pace=pace, metrics=StoreMetrics())
    sender.close()


async def _queue(pool: Pool, fetches: int) -> None:
    await accept_events(pool, accepted(fetches), now=None)


async def _commands(broker: Redis) -> list[Envelope[PerformFetches]]:
    """What waits in the Celery queue, oldest first, read as a worker would read it."""
    messages: list[dict[str, Any]] = [json.loads(raw) for raw in reversed(await broker.lrange(COMMAND_QUEUE, 0, -1))]
    assert all(message["headers"]["task"] == FETCH_PERFORM for message in messages)
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return [Envelope[PerformFetches].model_validate_json(arguments[0]) for arguments, _, _ in bodies]


async def test_due_work_leaves_in_batches(pool: Pool, broker: Redis, broker_url: str) -> None:
    await broker.set(f"{WORKER_KEY_PREFIX}w", 100)
    await _queue(pool, 20)
    async with _dispatcher(pool, broker, broker_url) as dispatcher:
        await dispatcher.run_once()
    commands = await _commands(broker)
    assert [len(command.data.fetches) for command in commands] == [8, 8, 4]
    assert len({fetch.id for command in commands for fetch in command.data.fetches}) == 20


async def test_nothing_leaves_without_workers(pool: Pool, broker: Redis, broker_url: str) -> None:
    await _queue(pool, 5)
    async with _dispatcher(pool, broker, broker_url) as dispatcher:
        await dispatcher.run_once()
        assert not dispatcher.has_fetcher
    assert await _commands(broker) == []


async def test_no_more_than_two_rounds_are_out_at_once(pool: Pool, broker: Redis, broker_url: str) -> None:
    await broker.set(f"{WORKER_KEY_PREFIX}a", 2)
    await broker.set(f"{WORKER_KEY_PREFIX}b", 1)
    await _queue(pool, 20)
    async with _dispatcher(pool, broker, broker_url) as dispatcher:
        await dispatcher.run_once()
        await dispatcher.run_once()
    assert sum(len(command.data.fetches) for command in await _commands(broker)) == 6


@pytest.mark.parametrize(("with_trains", "sizes"), [(3, [17, 17, 16]), (2, [2])])
async def test_a_train_is_never_cut_and_only_sent_while_all_workers_know_trains(
    pool: Pool, broker: Redis, broker_url: str, with_trains: int, sizes: list[int]
) -> None:
    await broker.set(f"{WORKER_KEY_PREFIX}w", 3)
    await broker.set(f"{TRAIN_WORKER_KEY_PREFIX}w", with_trains)
    await _queue(pool, 60)
    await fetch_rows(pool, "UPDATE hosts SET response_ms = 100")
    limits = replace(LIMITS, claim_fetches=50)
    pace = PaceSettings(delay_ms=0, max_in_flight=2 if with_trains < 3 else 3, train_seconds=2)
    async with _dispatcher(pool, broker, broker_url, limits, pace) as dispatcher:
        await dispatcher.run_once()
    commands = await _commands(broker)
    assert [len(command.data.fetches) for command in commands] == sizes
    for command in commands:
        trains = [fetch.train.id for fetch in command.data.fetches if fetch.train is not None]
        assert len(trains) == len(command.data.fetches)
        assert len(set(trains)) == (1 if with_trains == 3 else 2)


async def test_what_a_wiped_broker_lost_is_sent_again(pool: Pool, broker: Redis, broker_url: str) -> None:
    await broker.set(f"{WORKER_KEY_PREFIX}w", 100)
    await _queue(pool, 3)
    async with _dispatcher(pool, broker, broker_url) as dispatcher:
        await dispatcher.run_once()
        assert await broker.exists(BROKER_MARKER)
    await broker.flushall()
    await broker.set(f"{WORKER_KEY_PREFIX}w", 100)
    async with _dispatcher(pool, broker, broker_url) as dispatcher:
        await dispatcher.run_once()
    assert sorted(fetch.dispatch_seq for command in await _commands(broker) for fetch in command.data.fetches) == [2, 2, 2]


async def test_a_broker_that_refuses_gives_the_fetches_back(pool: Pool, broker: Redis, broker_url: str) -> None:
    await broker.set(f"{WORKER_KEY_PREFIX}w", 100)
    await _queue(pool, 3)
    nobody_listens = "redis://127.0.0.1:1/0"
    async with _dispatcher(pool, broker, nobody_listens) as dispatcher:
        with pytest.raises(BrokerUnavailable):
            await dispatcher.run_once()
    rows = await fetch_rows(pool, "SELECT state, unanswered FROM fetch_queue")
    assert [(row["state"], row["unanswered"]) for row in rows] == [("queued", 0)] * 3


async def test_a_closed_host_is_looked_at_again_when_it_opens_and_not_before(
    pool: Pool, broker: Redis, broker_url: str
) -> None:
    await broker.set(f"{WORKER_KEY_PREFIX}w", 100)
    await _queue(pool, 1)
    await fetch_rows(pool, "UPDATE hosts SET look_at = now() + interval '300 ms', paused_until = now() + interval '300 ms'")
    loop = asyncio.get_running_loop()
    limits = replace(LIMITS, poll_seconds=5)
    async with _dispatcher(pool, broker, broker_url, limits) as dispatcher:
        started, passes = loop.time(), 0
        while not await _commands(broker):
            assert loop.time() - started < 4
            await dispatcher.run_once()
            passes += 1
        assert loop.time() - started >= 0.2
    assert passes <= 3
