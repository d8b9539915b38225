"""The deployment at a glance: what the status page asks the store for, over a real database."""

from datetime import UTC, datetime, timedelta

import pytest
from api_words import open_caller
from common.contracts.fetches import ErrorType
from common.contracts.overview import Overview
from ledger_words import PACE, accept_events, accepted, attempted, claim_each, failed, fetched
from redis.asyncio import Redis
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.fetches.record import Attempt, record
from store.maintenance.traffic_sampler import TrafficSampler
from store.traffic import COUNTED_FETCHES

SAMPLE = "INSERT INTO traffic_samples SELECT $1::timestamptz, $2::bigint, 0, 0, 0, 0, 0, 0, 0"


async def _overview(pool: Pool, events: Redis) -> Overview:
    async with open_caller(pool, events) as caller:
        answer = await caller.http.get("/internal/v1/overview")
        assert answer.status_code == 200, answer.text
        return Overview.model_validate_json(answer.content)


async def _end(pool: Pool, error: ErrorType | None) -> None:
    """The next fetch in the queue ends: with a response, or with this error."""
    lease = Lease(margin_seconds=30, abandon_after_dispatches=5)
    [claimed] = await claim_each(pool, limit=1, leased_limit=100, lease=lease, pace=PACE, now=None)
    outcome = fetched() if error is None else failed(error=error, is_retryable=False)
    attempt = Attempt(attempted=attempted(claimed.command.id, outcome), body=None)
    await in_transaction(pool, lambda c: record(c, [attempt], source="store/t", pace=PACE, jitter=lambda: 0.5, now=None))


async def test_it_needs_the_token(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        answer = await caller.http.get("/internal/v1/overview", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


async def test_a_fresh_system_is_all_zeros(pool: Pool, events: Redis) -> None:
    overview = await _overview(pool, events)
    assert (overview.now.accepted, overview.now.queued, overview.now.running, overview.now.oldest_seconds) == (0, 0, 0, 0)
    assert (overview.samples, overview.hosts, overview.failures) == ([], [], [])
    assert (overview.workers, overview.worker_slots) == (2, 32)


async def test_it_tells_the_queue_the_busiest_hosts_and_the_last_failures(pool: Pool, events: Redis) -> None:
    await accept_events(pool, accepted(2, host="b.test"), accepted(5, host="a.test"), now=None)
    await _end(pool, None)
    await _end(pool, ErrorType.DNS)
    await _end(pool, ErrorType.TLS)
    overview = await _overview(pool, events)
    now = overview.now
    assert (now.accepted, now.succeeded, now.failed, now.queued, now.running) == (7, 1, 2, 4, 0)
    assert 0 <= now.oldest_seconds < 60
    assert [failure.error for failure in overview.failures] == [ErrorType.TLS, ErrorType.DNS]
    assert {failure.tenant for failure in overview.failures} == {"default"} and overview.failures[0].detail == "d"
    assert sum(busy.fetches for busy in overview.hosts) == 4 and not any(busy.is_guess for busy in overview.hosts)
    assert [busy.fetches for busy in overview.hosts] == sorted((busy.fetches for busy in overview.hosts), reverse=True)
    assert all(busy.host.backlog == busy.fetches for busy in overview.hosts)


async def test_a_long_queue_is_guessed_from_some_of_its_pages(pool: Pool, events: Redis) -> None:
    many = COUNTED_FETCHES * 4
    await accept_events(pool, accepted(1, host="most.test"), accepted(1, host="few.test"), now=None)
    await fetch_rows(
        pool,
        "WITH more AS (INSERT INTO fetches (id, host, request, accepted_at, ingested_at) "
        "SELECT gen_random_uuid(), CASE WHEN n % 10 = 0 THEN 'few.test' ELSE 'most.test' END, '{}', now(), now() "
        "FROM generate_series(1, $1::integer) AS n RETURNING id, host) "
        "INSERT INTO fetch_queue (id, host, run_at, waiting, timeout_seconds) SELECT id, host, now(), 'queue', 30 FROM more",
        many,
    )
    overview = await _overview(pool, events)
    assert [busy.host.host for busy in overview.hosts] == ["most.test", "few.test"]
    assert all(busy.is_guess for busy in overview.hosts)
    assert overview.hosts[0].fetches == pytest.approx(many * 0.9, rel=0.25)
    assert overview.hosts[0].host.backlog == overview.hosts[0].host.counted_up_to


async def test_the_first_store_samples_a_minute_and_old_samples_go(pool: Pool, events: Redis) -> None:
    [row] = await fetch_rows(pool, "SELECT date_trunc('minute', now()) AS minute")
    old = row["minute"] - timedelta(days=8)
    for sample in ((old, 1), (row["minute"] - timedelta(minutes=2), 2), (row["minute"] - timedelta(hours=2), 3)):
        await fetch_rows(pool, SAMPLE, *sample)
    await accept_events(pool, accepted(4), now=None)
    samplers = [TrafficSampler(pool=pool, retention_seconds=7 * 24 * 3600) for _ in range(2)]
    for sampler in samplers:
        assert 0 < await sampler.run_once() <= 60.1
        await accept_events(pool, accepted(1), now=None)
    overview = await _overview(pool, events)
    assert overview.samples[0].accepted == 2 and overview.samples[1].accepted == 4, "the last hour, the first store's"
    assert all(sample.at.second == 0 for sample in overview.samples)
    rows = await fetch_rows(pool, "SELECT at FROM traffic_samples ORDER BY at")
    assert old not in [row["at"] for row in rows] and len(rows) >= 3
    assert rows[0]["at"] > datetime.now(UTC) - timedelta(hours=3)
