"""The relay over real servers: committed events reach the feed in order, at least once, under stable ids."""

import asyncio
import json

import pytest
from common.contracts.catalog import FETCH_FINISHED
from common.streams.appender import Appender
from common.streams.feed import append_to_feed
from common.streams.names import FEED_STREAM
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, fetched
from redis.asyncio import Redis
from store.database import Connection, Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.fetches.record import Attempt, record
from store.metrics import StoreMetrics
from store.outbox import relay as relay_module
from store.outbox.relay import LOCK_KEY, Relay


async def _finish(pool: Pool, fetches: int) -> list[str]:
    event = accepted(fetches)
    await accept_events(pool, event, now=at(0))
    lease = Lease(margin_seconds=9, abandon_after_dispatches=9)
    await claim_each(pool, limit=100, leased_limit=100, lease=lease, pace=PACE, now=at(0))
    attempts = [Attempt(attempted=attempted(fetch.id, fetched())) for fetch in event.data.fetches]

    async def work(connection: Connection) -> None:
        await record(connection, attempts, source="store/t", pace=PACE, now=at(1), jitter=lambda: 1.0)

    await in_transaction(pool, work)
    return [str(fetch.id) for fetch in event.data.fetches]


async def _feed(redis: Redis) -> list[dict[str, str]]:
    return [json.loads(fields[b"event"]) for _, fields in await redis.xrange(FEED_STREAM)]


async def test_finished_fetches_are_told_once_and_in_order(pool: Pool, events: Redis) -> None:
    first, second = await _finish(pool, 2), await _finish(pool, 1)
    relay = Relay(pool=pool, redis=events, metrics=StoreMetrics())
    relay.wake.set()
    await relay.run_once()
    feed = await _feed(events)
    assert {event["type"] for event in feed} == {FETCH_FINISHED}
    subjects = [event["subject"] for event in feed]
    assert sorted(subjects[:2]) == sorted(first) and subjects[2:] == second
    assert await fetch_rows(pool, "SELECT id FROM outbox") == []


async def test_an_event_sent_again_keeps_its_id(pool: Pool, events: Redis) -> None:
    """A relay that dies between sending and deleting: the next one sends the same event."""
    await _finish(pool, 1)
    row = (await fetch_rows(pool, "SELECT event FROM outbox"))[0]
    await events.xadd(FEED_STREAM, {"event": row["event"]})
    await Relay(pool=pool, redis=events, metrics=StoreMetrics()).run_once()
    feed = await _feed(events)
    assert len(feed) == 2 and feed[0]["id"] == feed[1]["id"]


async def test_a_second_relay_leaves_the_outbox_to_the_first(pool: Pool, events: Redis) -> None:
    await _finish(pool, 1)
    async with pool.acquire() as other:
        await other.fetchval("SELECT pg_advisory_lock($1)", LOCK_KEY)
        assert await Relay(pool=pool, redis=events, metrics=StoreMetrics()).run_once() > 0
    assert await _feed(events) == []


async def test_a_relay_that_does_nothing_loses_its_turn_and_what_it_sent_is_sent_again(
    pool: Pool, events: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that froze while it sent: Postgres ends its transaction, the next one sends, and then it wakes up."""
    await _finish(pool, 1)
    is_sent, wakes_up = asyncio.Event(), asyncio.Event()

    async def append_and_freeze(feed: Appender, told: list[tuple[bytes, str]]) -> None:
        await append_to_feed(feed, told)
        if not is_sent.is_set():
            is_sent.set()
            await wakes_up.wait()

    monkeypatch.setattr(relay_module, "append_to_feed", append_and_freeze)  # a freeze in the middle has no other door
    frozen = asyncio.create_task(Relay(pool=pool, redis=events, metrics=StoreMetrics()).run_once())
    await is_sent.wait()
    assert await Relay(pool=pool, redis=events, metrics=StoreMetrics()).run_once() > 0, "two relays at once"
    ended = await fetch_rows(
        pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    )  # as `idle_in_transaction_session_timeout` does after its 15 s
    assert len(ended) == 1
    await Relay(pool=pool, redis=events, metrics=StoreMetrics()).run_once()
    wakes_up.set()
    await frozen
    feed = await _feed(events)
    assert len(feed) == 2 and feed[0]["id"] == feed[1]["id"]
    assert await fetch_rows(pool, "SELECT id FROM outbox") == []
