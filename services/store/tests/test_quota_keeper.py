"""What gateways know of each key's fetches follows the ledger: late at most, and never too low."""

from collections.abc import Awaitable, Callable
from typing import Any

from common.streams.names import INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.maintenance.quota_keeper import KEYS_AT_ONCE, LOCK_KEY, REST_SECONDS, QuotaKeeper
from store.metrics import StoreMetrics

INSERT_KEY = """
INSERT INTO api_keys (id, tenant, name, scopes, digest, queued_fetches, created_at, created_by, revision)
SELECT 'key' || lpad(n::text, 9, '0'), 'default', 'n', '{fetch:write}', sha256(n::text::bytea), $3::integer, now(), 'test', n
FROM generate_series($1::integer, $2::integer) AS n
"""
COUNT = """
INSERT INTO key_counts AS counts (key_id, shard, name, fetches)
VALUES ($1, $2::integer, $3, $4::bigint)
ON CONFLICT (key_id, shard, name) DO UPDATE SET fetches = counts.fetches + excluded.fetches
"""


def _id(number: int) -> str:
    return f"key{number:09}"


async def _count(pool: Pool, number: int, name: str, fetches: int, *, shard: int = 0) -> None:
    await fetch_rows(pool, COUNT, _id(number), shard, name, fetches)


async def _totals(events: Redis) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    return await events.hgetall(KEY_ACCEPTED_HASH), await events.hgetall(KEY_FINISHED_HASH)


class AcceptingAfter:
    """A gateway that accepts one fetch right after the store has said this to Redis."""

    def __init__(self, events: Redis, command: str) -> None:
        self.has_accepted = False
        self._events = events
        self._command = command

    def redis(self) -> Redis:
        """The store's connection."""
        accepting = self

        class Connection(Redis):
            async def execute_command(self, *args: Any, **options: Any) -> Any:
                reply = await super().execute_command(*args, **options)
                if args[0] == accepting._command:
                    accepting.has_accepted = True
                    await accepting._events.hset(INGESTING_HASH, "a fetch", "1-1")
                    await accepting._events.hincrby(KEY_ACCEPTED_HASH, _id(1), 1)
                return reply

        return Connection(connection_pool=self._events.connection_pool)


def _keeper(pool: Pool, events: Redis, metrics: StoreMetrics | None = None) -> QuotaKeeper:
    return QuotaKeeper(pool=pool, redis=events, metrics=metrics or StoreMetrics())


async def test_totals_of_all_shards_follow_the_ledger(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 2, 10)
    for shard in (0, 7):
        await _count(pool, 1, "accepted", 4, shard=shard)
        await _count(pool, 1, "finished", 1, shard=shard)
    keeper, one, two = _keeper(pool, events), _id(1).encode(), _id(2).encode()
    assert await keeper.run_once() == REST_SECONDS
    assert await _totals(events) == ({one: b"8"}, {one: b"2", two: b"0"})
    await _count(pool, 1, "finished", 3, shard=9)
    await _count(pool, 2, "accepted", 2)
    await keeper.run_once()
    assert await _totals(events) == ({one: b"8", two: b"2"}, {one: b"5", two: b"0"})


async def test_what_gateways_accepted_since_is_never_taken_back(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 1, 10)
    await _count(pool, 1, "accepted", 4)
    await events.hset(KEY_ACCEPTED_HASH, _id(1), 6)
    await events.hset(INGESTING_HASH, "a fetch", "1-1")
    metrics = StoreMetrics()
    await _keeper(pool, events, metrics).run_once()
    assert await events.hget(KEY_ACCEPTED_HASH, _id(1)) == b"6"
    assert metrics.registry.get_sample_value("fetchwork_key_totals_raised_total") == 0


async def test_what_was_counted_twice_is_taken_back_once_nothing_is_on_its_way(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 2, 10)
    await _count(pool, 1, "accepted", 4)
    await _count(pool, 2, "accepted", 5)
    await events.hset(KEY_ACCEPTED_HASH, mapping={_id(1): 6, _id(2): 5})
    metrics = StoreMetrics()
    await _keeper(pool, events, metrics).run_once()
    assert await events.hgetall(KEY_ACCEPTED_HASH) == {_id(1).encode(): b"4", _id(2).encode(): b"5"}
    assert metrics.registry.get_sample_value("fetchwork_key_totals_lowered_total") == 1


async def test_what_is_accepted_while_the_ledger_is_read_is_not_taken_back(pool: Pool, events: Redis) -> None:
    """Each moment of a pass: a gateway accepts between the two looks at Redis, and between the second one and the write."""
    await fetch_rows(pool, INSERT_KEY, 1, 1, 10)
    await _count(pool, 1, "accepted", 4)

    for moment in ("HMGET", "HLEN"):
        await events.delete(INGESTING_HASH)
        await events.hset(KEY_ACCEPTED_HASH, _id(1), 6)
        accepting = AcceptingAfter(events, moment)
        await _keeper(pool, accepting.redis()).run_once()
        assert accepting.has_accepted and await events.hget(KEY_ACCEPTED_HASH, _id(1)) == b"7", moment


async def test_two_stores_do_not_lower_at_once(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 1, 10)
    await _count(pool, 1, "accepted", 4)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        assert await _keeper(pool, events).run_once() == REST_SECONDS
        assert await _totals(events) == ({}, {})
    await _keeper(pool, events).run_once()
    assert await _totals(events) == ({_id(1).encode(): b"4"}, {_id(1).encode(): b"0"})


async def test_a_wiped_redis_has_the_totals_back_after_one_round(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 1, 10)
    await _count(pool, 1, "accepted", 4)
    await _count(pool, 1, "finished", 3)
    metrics = StoreMetrics()
    keeper = _keeper(pool, events, metrics)
    await keeper.run_once()
    before = await _totals(events)
    await events.flushall()
    await events.hincrby(KEY_ACCEPTED_HASH, _id(1), 1)  # what was accepted in between
    await keeper.run_once()
    assert await _totals(events) == before
    assert metrics.registry.get_sample_value("fetchwork_key_totals_raised_total") == 2


async def test_keys_without_the_limit_are_left_alone(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 1, None)
    await _count(pool, 1, "accepted", 4)
    await _keeper(pool, events).run_once()
    assert await _totals(events) == ({}, {})


async def test_a_round_is_made_of_bounded_passes(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, KEYS_AT_ONCE + 1, 10)
    for number in (1, KEYS_AT_ONCE + 1):
        await _count(pool, number, "accepted", number)
    keeper = _keeper(pool, events)
    assert await keeper.run_once() == 0
    assert await events.hkeys(KEY_ACCEPTED_HASH) == [_id(1).encode()]
    assert await keeper.run_once() == REST_SECONDS
    assert await events.hget(KEY_ACCEPTED_HASH, _id(KEYS_AT_ONCE + 1)) == str(KEYS_AT_ONCE + 1).encode()
    await _count(pool, 1, "accepted", 1)
    await keeper.run_once()
    assert await events.hget(KEY_ACCEPTED_HASH, _id(1)) == b"2"


async def test_what_did_not_change_is_not_written(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 3, 10)
    await _count(pool, 1, "accepted", 4)
    keeper = _keeper(pool, events)
    await keeper.run_once()
    written = (await events.info("persistence"))["aof_current_size"]
    await keeper.run_once()
    assert (await events.info("persistence"))["aof_current_size"] == written


async def test_the_rights_of_the_stores_user_suffice(
    pool: Pool, events: Redis, events_as: Callable[[str], Awaitable[Redis]]
) -> None:
    await fetch_rows(pool, INSERT_KEY, 1, 1, 10)
    await _count(pool, 1, "accepted", 4)
    await events.script_flush()
    await events.hset(KEY_ACCEPTED_HASH, _id(1), 6)
    await _keeper(pool, await events_as("store")).run_once()
    assert await _totals(events) == ({_id(1).encode(): b"4"}, {_id(1).encode(): b"0"})
