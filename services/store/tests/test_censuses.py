"""The gauges of servers, streams, outbox and hosts, over real ones; and rules of an earlier release, which know less."""

import hashlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from common.streams.appender import Appender
from common.streams.connection import connect_redis
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, COMMAND_QUEUE
from common.streams.publisher import Publication, publish
from ingest_bench import Bench
from ledger_words import PACE, accept_events, accepted, claim_each
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from store.database import Pool, fetch_rows
from store.dispatch.claim import Lease
from store.maintenance.census import Census
from store.maintenance.host_census import HostCensus
from store.maintenance.redis_census import RedisCensus
from store.maintenance.size_census import TABLES, SizeCensus
from store.metrics import StoreMetrics
from structlog.testing import capture_logs

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
REDIS_GAUGES = ("redis_memory_bytes", "redis_memory_limit_bytes", "redis_persistence_ok")
OpenAsStore = Callable[..., Awaitable[Redis]]


def _value(metrics: StoreMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"fetchwork_{name}", labels)


@pytest.fixture
async def as_store(repository: Path) -> AsyncIterator[OpenAsStore]:
    """Clients with the rights that the store has in containers, and no others; or without some of them."""
    async with AsyncExitStack() as stack:

        async def client_of(admin: Redis, url: str, rules: str, *, without: str = "") -> Redis:
            lines = (repository / "deploy/redis" / rules).read_text(encoding="utf-8").splitlines()
            words = next(line.split()[2:] for line in lines if line.startswith("user store "))
            digest = f"#{hashlib.sha256(b'store').hexdigest()}"
            rights = [digest if word.startswith("#@") else word for word in words if word != without]
            await admin.execute_command("ACL", "SETUSER", "store", *rights)
            stack.push_async_callback(admin.execute_command, "ACL", "DELUSER", "store")
            place = urlsplit(url)
            client = connect_redis(f"redis://store:store@{place.hostname}:{place.port}{place.path}")
            stack.push_async_callback(client.aclose)
            return client

        yield client_of


async def test_with_the_deployed_rights_the_store_sees_how_its_events_redis_is(
    events: Redis, events_url: str, as_store: OpenAsStore
) -> None:
    metrics = StoreMetrics()
    assert _value(metrics, "redis_persistence_ok", redis="events") is None, "nobody has asked yet"
    client = await as_store(events, events_url, "events.acl")
    await RedisCensus("events", redis=client, metrics=metrics.servers).run_once()
    memory = await events.info("memory")
    assert _value(metrics, "redis_memory_bytes", redis="events") == pytest.approx(memory["used_memory"], rel=0.5)
    assert _value(metrics, "redis_memory_limit_bytes", redis="events") == memory["maxmemory"]
    assert _value(metrics, "redis_persistence_ok", redis="events") == 1
    assert _value(metrics, "redis_persistence_ok", redis="broker") is None


async def test_with_the_deployed_rights_the_store_counts_commands_that_wait(
    broker: Redis, broker_url: str, as_store: OpenAsStore
) -> None:
    metrics = StoreMetrics()
    client = await as_store(broker, broker_url, "broker.acl")
    await broker.lpush(COMMAND_QUEUE, "a", "b", "c")
    census = RedisCensus("broker", redis=client, metrics=metrics.servers, commands=COMMAND_QUEUE)
    await census.run_once()
    assert _value(metrics, "broker_commands") == 3
    assert (_value(metrics, "redis_memory_bytes", redis="broker") or 0) > 0
    await broker.delete(COMMAND_QUEUE)
    await census.run_once()
    assert _value(metrics, "broker_commands") == 0


async def test_rules_of_an_earlier_release_hide_the_gauges_with_one_warning_and_stop_nothing(
    events: Redis, events_url: str, as_store: OpenAsStore
) -> None:
    metrics = StoreMetrics()
    census = RedisCensus(
        "events", redis=await as_store(events, events_url, "events.acl", without="+info"), metrics=metrics.servers
    )
    with capture_logs() as logs:
        for _ in range(3):
            assert await census.run_once() > 0
    assert [(line["log_level"], line["redis"]) for line in logs] == [("warning", "events")]
    assert [_value(metrics, name, redis="events") for name in REDIS_GAUGES] == [None, None, None]
    await events.execute_command("ACL", "SETUSER", "store", "+info")
    await census.run_once()
    assert _value(metrics, "redis_persistence_ok", redis="events") == 1


async def test_what_a_redis_said_before_it_went_away_is_not_shown_on(broker: Redis, broker_url: str) -> None:
    metrics, client = StoreMetrics(), connect_redis(broker_url)
    census = RedisCensus("broker", redis=client, metrics=metrics.servers, commands=COMMAND_QUEUE)
    await census.run_once()
    assert _value(metrics, "redis_persistence_ok", redis="broker") == 1
    await client.aclose()
    gone = RedisCensus("broker", redis=connect_redis("redis://127.0.0.1:1/0"), metrics=metrics.servers, commands=COMMAND_QUEUE)
    with pytest.raises(RedisConnectionError):
        await gone.run_once()
    assert [_value(metrics, name, redis="broker") for name in REDIS_GAUGES] == [None, None, None]
    assert math.isnan(_value(metrics, "broker_commands") or 0)


@pytest.mark.parametrize("broken", ["aof_last_write_status", "rdb_last_bgsave_status"])
def test_a_redis_that_cannot_write_is_not_ok(broken: str) -> None:
    metrics = StoreMetrics()
    facts = {"used_memory": 5, "maxmemory": 0, "aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok"}
    for word, expected in (("ok", 1), ("err", 0)):
        metrics.servers.show_redis("events", facts | {broken: word})
        assert _value(metrics, "redis_persistence_ok", redis="events") == expected


async def test_what_was_delivered_and_not_acknowledged_is_counted_with_its_age(
    events: Redis, events_url: str, pool: Pool, as_store: OpenAsStore
) -> None:
    metrics, client = StoreMetrics(), await as_store(events, events_url, "events.acl")
    bench = Bench(client, pool)
    members = [bench.accept_member, bench.record_member]
    census = Census(pool=pool, redis=client, members=members, metrics=metrics)
    labels = {"stream": ACCEPTED_STREAM, "group": bench.accept_member.group}
    await census.run_once()
    assert _value(metrics, "stream_pending_entries", **labels) == 0, "before there is a stream"
    for member in members:
        await member.ensure_group()
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1)) for _ in range(3)])
    (first, second, _) = await bench.accept_member.read_new()
    for entry, idle_ms in ((first, 5000), (second, 90_000)):
        await events.xclaim(ACCEPTED_STREAM, labels["group"], "store-0", 0, [entry.id], idle=idle_ms, justid=True)
    await census.run_once()
    assert _value(metrics, "stream_pending_entries", **labels) == 3
    assert 90 <= (_value(metrics, "stream_pending_idle_seconds", **labels) or 0) < 120
    assert _value(metrics, "stream_pending_entries", stream=ATTEMPTED_STREAM, group=labels["group"]) == 0
    await bench.accept.run_once()
    await census.run_once()
    assert _value(metrics, "stream_pending_entries", **labels) == 0
    assert _value(metrics, "stream_pending_idle_seconds", **labels) == 0


async def test_the_outbox_is_measured_while_nobody_relays(pool: Pool, events: Redis) -> None:
    metrics = StoreMetrics()
    census = Census(pool=pool, redis=events, members=[], metrics=metrics)
    times = "SELECT '{}', now() - make_interval(secs => n * 10) FROM generate_series(9, 3, -1) AS n"
    await fetch_rows(pool, f"INSERT INTO outbox (event, created_at) {times}")
    await census.run_once()
    assert _value(metrics, "outbox_events") == 7
    assert 90 <= (_value(metrics, "outbox_oldest_seconds") or 0) < 120
    await fetch_rows(pool, "DELETE FROM outbox")
    await census.run_once()
    assert (_value(metrics, "outbox_events"), _value(metrics, "outbox_oldest_seconds")) == (0, 0)


async def test_leases_that_ended_and_nobody_claimed_are_overdue(pool: Pool, events: Redis) -> None:
    metrics = StoreMetrics()
    await accept_events(pool, accepted(5), now=None)
    assert len(await claim_each(pool, limit=4, leased_limit=9, lease=LEASE, pace=PACE, now=None)) == 4
    of_one = "WHERE id = (SELECT id FROM fetch_queue WHERE state = 'running' LIMIT 1)"
    await fetch_rows(pool, f"UPDATE fetch_queue SET run_at = now() - interval '1 minute' {of_one}")
    await Census(pool=pool, redis=events, members=[], metrics=metrics).run_once()
    assert (_value(metrics, "leases_overdue"), _value(metrics, "queue_fetches", state="running")) == (1, 3)


async def test_the_sizes_of_the_database_and_of_every_table_of_ours_are_known(pool: Pool) -> None:
    metrics = StoreMetrics()
    census = SizeCensus(pool=pool, metrics=metrics)
    await census.run_once()
    before = _value(metrics, "table_bytes", table="contents") or 0
    body = "decode(repeat('00', 1000000), 'hex')"
    await fetch_rows(pool, f"INSERT INTO contents VALUES (sha256('a'), 1, 1000000, {body}, now())")
    await census.run_once()
    assert (_value(metrics, "table_bytes", table="contents") or 0) - before >= 1_000_000, "long values included"
    total = sum(_value(metrics, "table_bytes", table=table) or 0 for table in TABLES)
    assert 0 < total < (_value(metrics, "database_bytes") or 0)
    rows = await fetch_rows(pool, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema ORDER BY 1")
    assert [row["tablename"] for row in rows if row["tablename"] != "schema_migrations"] == sorted(TABLES)


async def test_a_database_of_the_release_before_lacks_a_table_and_the_others_are_measured(pool: Pool) -> None:
    await fetch_rows(pool, "DROP TABLE robots_files")
    metrics = StoreMetrics()
    await SizeCensus(pool=pool, metrics=metrics).run_once()
    assert _value(metrics, "table_bytes", table="robots_files") is None
    assert (_value(metrics, "table_bytes", table="hosts") or 0) > 0


def _hosts(metrics: StoreMetrics) -> dict[str, float]:
    (metric,) = (metric for metric in metrics.registry.collect() if metric.name == "fetchwork_host_queue_fetches")
    return {sample.labels["host"]: sample.value for sample in metric.samples}


async def test_the_hosts_with_most_queued_fetches_are_named_until_others_have_more(pool: Pool) -> None:
    metrics = StoreMetrics()
    census = HostCensus(pool=pool, top_hosts=2, metrics=metrics)
    await census.run_once()
    assert _hosts(metrics) == {"other": 0}
    for host, fetches in (("a.test", 5), ("b.test", 4), ("c.test", 3), ("d.test", 2)):
        await accept_events(pool, accepted(fetches, host=host), now=None)
    await census.run_once()
    assert _hosts(metrics) == {"a.test": 5, "b.test": 4, "other": 5}
    await accept_events(pool, accepted(9, host="d.test"), now=None)
    out = "state = 'running', dispatched_at = now(), run_at = 'infinity'"
    await fetch_rows(pool, f"UPDATE fetch_queue SET {out} WHERE host = 'a.test'")
    await census.run_once()
    assert _hosts(metrics) == {"d.test": 11, "b.test": 4, "other": 3}, "what is out does not wait"


async def test_a_host_called_other_is_counted_with_the_others(pool: Pool) -> None:
    metrics = StoreMetrics()
    await accept_events(pool, accepted(5, host="other"), accepted(2, host="b.test"), now=None)
    await HostCensus(pool=pool, top_hosts=1, metrics=metrics).run_once()
    assert _hosts(metrics) == {"other": 7}


async def test_of_a_large_queue_a_bounded_sample_is_read(pool: Pool) -> None:
    """Estimates, and Postgres's own count of the pages that were looked at."""
    for _ in range(6):
        await accept_events(pool, *[accepted(10, host=f"h{n % 20}.test") for n in range(100)], now=None)
    await accept_events(pool, *[accepted(1000, host="large.test") for _ in range(4)], now=None)
    pages = (await fetch_rows(pool, "SELECT pg_relation_size('fetch_queue') / 8192"))[0][0]
    metrics = StoreMetrics()
    await HostCensus(pool=pool, top_hosts=1, metrics=metrics, pages_limit=pages // 2).run_once()
    counts = _hosts(metrics)
    assert set(counts) == {"large.test", "other"}
    assert counts["large.test"] == pytest.approx(4000, rel=0.45) and counts["other"] == pytest.approx(6000, rel=0.6)
