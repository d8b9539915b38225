"""The counters after whatever happened: equal to the rows, with and without a backlog, and cheap to ask for."""

from datetime import datetime
from uuid import UUID

import pytest
from api_words import open_caller
from common.contracts.fetches import FetchesAccepted
from common.contracts.hosts import HostChange, HostOperation, HostState
from common.streams.names import INGESTING_HASH
from ledger_words import NOW, PACE, accept_events, accepted, at, attempted, claim_each, failed, fetched
from redis.asyncio import Redis
from store.database import Connection, Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.fetches.cancel import cancel_fetch
from store.fetches.record import Attempt, record
from store.fetches.refuse import refuse_fetch
from store.hosts.operate import operate_host
from store.maintenance.abandoner import Abandoner
from store.maintenance.census import Census
from store.maintenance.expirer import Expirer
from store.maintenance.refuser import Refuser
from store.metrics import StoreMetrics
from test_plans import plan_of

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=1)


async def _counts(pool: Pool) -> dict[str, int]:
    statement = "SELECT name, sum(fetches)::bigint AS fetches FROM {} GROUP BY name"
    tables = ("fetch_counts", "queue_counts")
    return {row["name"]: row["fetches"] for table in tables for row in await fetch_rows(pool, statement.format(table))}


async def _rows(pool: Pool) -> dict[str, int]:
    """The same, counted the long way."""
    rows = await fetch_rows(pool, "SELECT status, count(*) AS n FROM fetches GROUP BY status")
    ledger = {row["status"]: row["n"] for row in rows}
    pending = (await fetch_rows(pool, "SELECT count(*) FROM fetch_queue"))[0][0]
    assert ledger.pop("queued", 0) == pending
    return ledger | {"accepted": sum(ledger.values()) + pending, "pending": pending}


async def _assert_exact(pool: Pool, events: Redis, *, ingesting: int = 0) -> dict[str, int]:
    counts, rows = await _counts(pool), await _rows(pool)
    counts["pending"] = counts.pop("enqueued", 0) - counts.pop("dequeued", 0)
    assert {name: n for name, n in counts.items() if n} == {name: n for name, n in rows.items() if n}
    metrics = StoreMetrics()
    await Census(pool=pool, redis=events, members=[], metrics=metrics).run_once()
    assert metrics.registry.get_sample_value("fetchwork_conservation_gap") == ingesting
    states = [metrics.registry.get_sample_value("fetchwork_queue_fetches", {"state": state}) for state in ("queued", "running")]
    assert sum(state or 0 for state in states) == rows["pending"]
    return rows


async def _equal(pool: Pool, fetches: int, *, now: datetime) -> list[UUID]:
    """A leader with its followers."""
    event = accepted(fetches, host="same.test", max_age_seconds=60.0)
    first = event.data.fetches[0].request
    same = tuple(fetch.model_copy(update={"request": first}) for fetch in event.data.fetches)
    await accept_events(pool, event.model_copy(update={"data": FetchesAccepted(fetches=same)}), now=now)
    return sorted(fetch.id for fetch in same)


async def _record(pool: Pool, *attempts: Attempt) -> None:
    await in_transaction(
        pool, lambda c: record(c, attempts, source="store/t", pace=PACE, now=at(2), jitter=lambda: 1.0)
    )


async def test_after_all_that_can_happen_to_fetches_the_counters_equal_the_rows(pool: Pool, events: Redis) -> None:
    await _assert_exact(pool, events)
    event = accepted(12)
    for _ in range(2):  # delivered twice
        await accept_events(pool, event, now=NOW)
    await accept_events(pool, accepted(3, expires_at=at(1)), now=NOW)
    await accept_events(pool, accepted(4, host="banned.test"), now=NOW)
    followers = await _equal(pool, 5, now=NOW)
    assert (await _assert_exact(pool, events))["pending"] == 24
    metrics = StoreMetrics()
    await Expirer(pool=pool, source="store/t", metrics=metrics).run_once(now=at(1))
    ban = HostOperation(actor="op", change=HostChange(state=HostState.BANNED))
    await in_transaction(pool, lambda c: operate_host(c, "banned.test", ban, PACE, now=at(1)))
    refuser = Refuser(pool=pool, pace=PACE, patience_seconds=60, source="store/t", metrics=metrics)
    await refuser.run_once(now=at(1))
    await in_transaction(pool, lambda c: cancel_fetch(c, followers[0], source="store/t", now=at(1)))
    claimed = [f.command.id for f in await claim_each(pool, limit=50, leased_limit=50, lease=LEASE, pace=PACE, now=at(1))]
    assert followers[1] in claimed and len(claimed) == 13
    mine = [fetch.id for fetch in event.data.fetches]
    await in_transaction(pool, lambda c: cancel_fetch(c, mine[0], source="store/t", now=at(1)))
    outcomes = {mine[0]: fetched(), mine[1]: fetched(), mine[2]: failed(), mine[3]: failed(is_retryable=False)}
    attempts = [Attempt(attempted=attempted(fetch_id, outcome)) for fetch_id, outcome in outcomes.items()]
    await _record(pool, *attempts, Attempt(attempted=attempted(followers[1], fetched())))
    await _record(pool, *attempts)
    await in_transaction(pool, lambda c: refuse_fetch(c, accepted(1).data.fetches[0], source="store/t", now=at(2)))
    rows = await _assert_exact(pool, events)
    # Cancelled: a leader and a running one. Failed: banned, final, refused. Succeeded: one, and a leader with three followers.
    assert rows == {"cancelled": 2, "expired": 3, "failed": 6, "succeeded": 5, "accepted": 25, "pending": 9}
    await Abandoner(pool=pool, after_dispatches=1, source="store/t", metrics=metrics).run_once()
    assert (await _assert_exact(pool, events))["pending"] == 1, "the one that is tried again"
    async with open_caller(pool, events) as caller:
        await caller.http.delete(f"/internal/v1/fetches/{mine[2]}")
    assert (await _assert_exact(pool, events))["pending"] == 0


async def test_what_is_undone_is_not_counted(pool: Pool, events: Redis) -> None:
    await accept_events(pool, accepted(2), now=NOW)

    async def undone(connection: Connection) -> None:
        await connection.execute("DELETE FROM fetch_queue")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_transaction(pool, undone)
    assert (await _assert_exact(pool, events))["pending"] == 2


async def test_the_gap_is_what_is_still_under_way(pool: Pool, events: Redis) -> None:
    await events.hset(INGESTING_HASH, mapping={str(number): "1-1" for number in range(3)})
    await _assert_exact(pool, events, ingesting=3)
    await accept_events(pool, accepted(50), now=NOW)
    await _assert_exact(pool, events, ingesting=3)


async def test_a_large_backlog_costs_the_census_no_more_than_a_small_one(pool: Pool, events: Redis) -> None:
    """Postgres's own count of the rows that were read, not a clock."""
    census = Census(pool=pool, redis=events, members=[], metrics=StoreMetrics())

    async def rows_read() -> int:
        for _ in range(8):  # every connection of the pool tells what it did
            await fetch_rows(pool, "SELECT pg_stat_force_next_flush()")
        statement = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'fetch_queue'"
        return int((await fetch_rows(pool, statement))[0][0])

    async def cost() -> int:
        before = await rows_read()
        await census.run_once()
        return await rows_read() - before

    for _ in range(5):
        await accept_events(pool, accepted(1000), now=NOW)
    assert await cost() <= 10
    async with pool.acquire() as connection, connection.transaction():
        for name in ("queue_running", "queue_conservation"):
            plan = await plan_of(connection, name)
            assert "Seq Scan on fetch_queue" not in plan and "fetch_queue_pkey" not in plan, plan
