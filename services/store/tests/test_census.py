"""The gauges that a look at the tables fills."""

from common.streams.names import INGESTING_HASH
from ledger_words import accept_events, accepted, at
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.maintenance.census import Census
from store.maintenance.size_census import SizeCensus
from store.metrics import StoreMetrics


async def test_the_census_counts_pending_fetches_and_what_only_the_owner_prunes(pool: Pool, events: Redis) -> None:
    await accept_events(pool, accepted(3), now=at(0))
    async with pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO audit_log (at, fetch_id, attempt, host, verdict, addresses) "
            "SELECT now(), gen_random_uuid(), 1, 'h', 'deny_private', '{}' FROM generate_series(1, 7)"
        )
    for _ in range(8):  # every connection of the pool tells Postgres what it did
        await fetch_rows(pool, "SELECT pg_stat_force_next_flush()")
    await events.hset(INGESTING_HASH, "id", "of one under way")
    metrics = StoreMetrics()
    await Census(pool=pool, redis=events, members=[], metrics=metrics).run_once()
    await SizeCensus(pool=pool, metrics=metrics).run_once()

    def gauge(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"fetchwork_{name}", labels)

    assert gauge("history_rows", table="audit_log") == 7 and gauge("history_rows", table="attempts") == 0
    assert gauge("queue_fetches", state="queued") == 3 and gauge("queue_fetches", state="running") == 0
    assert gauge("conservation_gap") == 1


async def test_hosts_that_are_closed_are_counted(pool: Pool, events: Redis) -> None:
    for number in range(5):
        await accept_events(pool, accepted(host=f"h{number}.test"), now=at(0))
    until = "override_until = now() + interval '1 hour'"
    await fetch_rows(pool, f"UPDATE hosts SET override_state = 'paused', {until} WHERE host = 'h1.test'")
    await fetch_rows(pool, f"UPDATE hosts SET override_state = 'banned', {until} WHERE host IN ('h2.test', 'h3.test')")
    await fetch_rows(pool, "UPDATE hosts SET override_state = 'banned', override_until = now() WHERE host = 'h4.test'")
    await fetch_rows(pool, "UPDATE hosts SET broken_until = now() WHERE host IN ('h0.test', 'h2.test', 'h4.test')")
    metrics = StoreMetrics()
    census = Census(pool=pool, redis=events, members=[], metrics=metrics)
    for expected in ([1, 2, 3], [0, 0, 3]):
        await census.run_once()
        states = ("paused", "banned", "unreached")
        assert [metrics.registry.get_sample_value("fetchwork_hosts", {"state": state}) for state in states] == expected
        await fetch_rows(pool, "UPDATE hosts SET override_until = now() WHERE override_state IS NOT NULL")
