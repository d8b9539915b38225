"""What the counters say of fetches that failed, of turns that came late, of bodies and of transactions."""

import hashlib

import pytest
import zstandard
from api_words import open_caller
from common.contracts.faults import Fault
from common.contracts.fetches import BodyReference, ErrorType
from common.contracts.hosts import HostChange, HostOperation, HostState
from common.streams.appender import Appender
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM
from common.streams.publisher import Publication, publish
from ingest_bench import Bench
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, failed, fetched, wrap_attempted
from redis.asyncio import Redis
from store.contents.digests import digest_text
from store.database import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool, fetch_rows, in_transaction, open_pool
from store.dispatch.claim import Lease
from store.errors import DatabaseUnavailable, DataRefused
from store.hosts.operate import operate_host
from store.hosts.pace import PaceSettings
from store.maintenance.abandoner import Abandoner
from store.maintenance.expirer import Expirer
from store.maintenance.follower_finisher import FollowerFinisher
from store.maintenance.refuser import Refuser
from store.metrics import StoreMetrics

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=1)
BODY = b"the same page " * 20
EXPECTED_FAULTS = {
    Fault.TARGET: {"dns", "connect", "tls", "timeout", "protocol", "too_large", "decode", "too_many_redirects"},
    Fault.REQUEST: {"refused_address", "refused_scheme", "refused_port", "refused_robots", "invalid_url", "expired"},
    Fault.OURS: {"abandoned", "internal"},
}


def _samples(metrics: StoreMetrics, name: str) -> dict[str, float]:
    """The series of a metric by their label values, joined with a slash."""
    return {
        "/".join(sample.labels.values()): sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == f"fetchwork_{name}"
    }


def _failed(metrics: StoreMetrics) -> dict[str, float]:
    return {pair: count for pair, count in _samples(metrics, "fetches_failed_total").items() if count}


def test_every_error_is_somebodys_fault_and_its_series_is_there_from_the_start() -> None:
    pairs = {f"{error}/{fault.value}": 0.0 for fault, errors in EXPECTED_FAULTS.items() for error in errors}
    assert _samples(StoreMetrics(), "fetches_failed_total") == pairs
    assert len(pairs) == len(ErrorType)


async def test_an_attempt_that_ends_its_fetch_is_counted_once_and_one_that_is_tried_again_is_not(
    pool: Pool, events: Redis
) -> None:
    bench, event = Bench(events, pool), accepted(3)
    await accept_events(pool, event, now=at(0))
    await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(0))
    outcomes = [failed(error=ErrorType.TLS, is_retryable=False), failed(is_retryable=True), fetched(500)]
    attempts = [attempted(fetch.id, outcome) for fetch, outcome in zip(event.data.fetches, outcomes, strict=True)]
    for _ in range(2):  # delivered twice
        await publish(Appender(events, ATTEMPTED_STREAM), [Publication(event=wrap_attempted(attempt)) for attempt in attempts])
        await bench.record.run_once()
    assert _failed(bench.metrics) == {"tls/target": 1}


async def test_an_accepted_fetch_that_cannot_be_stored_is_our_fault(pool: Pool, events: Redis) -> None:
    bench = Bench(events, pool)
    await fetch_rows(pool, "ALTER TABLE fetch_queue ADD CONSTRAINT odd CHECK (timeout_seconds <> 7)")
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1, timeout_seconds=7))])
    await bench.accept.run_once()
    assert _failed(bench.metrics) == {"internal/ours": 1}


async def test_whoever_ends_a_fetch_says_why(pool: Pool) -> None:
    """Expired, abandoned, and refused because of its host: that is the caller's, our and the operator's doing."""
    metrics = StoreMetrics()
    await accept_events(pool, accepted(3, host="lost.test"), now=at(0))
    await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(0))
    await Abandoner(pool=pool, after_dispatches=1, source="store/t", metrics=metrics).run_once()
    assert _failed(metrics) == {"abandoned/ours": 3}
    await accept_events(pool, accepted(2, host="late.test", expires_at=at(1)), now=at(0))
    await Expirer(pool=pool, source="store/t", metrics=metrics).run_once(now=at(1))
    assert _failed(metrics) == {"expired/request": 2, "abandoned/ours": 3}
    await accept_events(pool, accepted(1, host="banned.test"), now=at(0))
    ban = HostOperation(actor="op", change=HostChange(state=HostState.BANNED))
    await in_transaction(pool, lambda c: operate_host(c, "banned.test", ban, PACE, now=at(1)))
    await Refuser(pool=pool, pace=PACE, patience_seconds=60, source="store/t", metrics=metrics).run_once(now=at(1))
    assert sum(_failed(metrics).values()) == 6 and _failed(metrics)["refused_address/request"] == 1


async def test_those_that_waited_for_a_failed_one_are_counted_with_it(pool: Pool, events: Redis) -> None:
    bench, event = Bench(events, pool), accepted(3, max_age_seconds=60.0)
    first = event.data.fetches[0].request
    same = [fetch.model_copy(update={"request": first}) for fetch in event.data.fetches]
    await accept_events(pool, event.model_copy(update={"data": event.data.model_copy(update={"fetches": same})}), now=at(0))
    (leader,) = await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(0))
    attempt = attempted(leader.command.id, failed(error=ErrorType.DNS, is_retryable=False))
    await publish(Appender(events, ATTEMPTED_STREAM), [Publication(event=wrap_attempted(attempt))])
    await bench.record.run_once()
    await FollowerFinisher(pool=pool, source="store/t", metrics=bench.metrics).run_once()
    finished = (await fetch_rows(pool, "SELECT count(*) FROM fetches WHERE error_type = 'dns'"))[0][0]
    assert finished > 1 and _failed(bench.metrics) == {"dns/target": finished}


async def _late(pool: Pool, *, seconds: float, pace: PaceSettings = PACE, limit: int = 9) -> list[float]:
    claimed = await claim_each(pool, limit=limit, leased_limit=limit, lease=LEASE, pace=pace, now=at(seconds))
    return [fetch.late_seconds for fetch in claimed]


async def test_a_host_that_was_open_is_late_by_what_its_work_has_been_due(pool: Pool) -> None:
    await accept_events(pool, accepted(1), now=at(0))
    await accept_events(pool, accepted(1, host="b.test", delay_seconds=4.0), now=at(0))
    assert await _late(pool, seconds=3) == [3]
    assert await _late(pool, seconds=5) == [1]


@pytest.mark.parametrize("closed_by", ["next_slot_at", "paused_until", "broken_until", "override_until"])
async def test_while_the_host_was_closed_nobody_was_late(pool: Pool, closed_by: str) -> None:
    """Also when nobody looked at it in the meantime."""
    await accept_events(pool, accepted(1), now=at(0))
    state = ", override_state = 'paused'" if closed_by == "override_until" else ""
    await fetch_rows(pool, f"UPDATE hosts SET {closed_by} = $1::timestamptz{state}", at(50))  # noqa: S608
    assert await _late(pool, seconds=52) == [2]


async def test_the_pace_of_a_host_with_a_delay_is_no_lateness(pool: Pool, events: Redis) -> None:
    pace = PaceSettings(delay_ms=10_000, max_in_flight=1)
    event, bench = accepted(2), Bench(events, pool)
    await accept_events(pool, event, now=at(0))
    assert await _late(pool, seconds=0, pace=pace) == [0]
    row = (await fetch_rows(pool, "SELECT id FROM fetch_queue WHERE state = 'running'"))[0]
    await publish(Appender(events, ATTEMPTED_STREAM), [Publication(event=wrap_attempted(attempted(row["id"], fetched())))])
    await bench.record.run_once()
    await fetch_rows(pool, "UPDATE hosts SET next_slot_at = $1::timestamptz, look_at = $1::timestamptz, lanes = '[]'", at(11))
    assert await _late(pool, seconds=11.25, pace=pace) == [0.25], "and not the eleven seconds that it waited"


def _digest(body: bytes) -> str:
    return digest_text(hashlib.sha256(body).digest())


def _with_body(body: bytes, *, is_inline: bool = True) -> tuple[BodyReference, bytes]:
    compressed = zstandard.compress(body)
    reference = BodyReference(
        digest=_digest(body), size_bytes=len(body), compressed_bytes=len(compressed), is_inline=is_inline
    )
    return reference, compressed


async def test_bodies_are_new_once_whichever_way_and_how_often_they_come(pool: Pool, events: Redis) -> None:
    bench, event = Bench(events, pool), accepted(4)
    await accept_events(pool, event, now=at(0))
    await claim_each(pool, limit=9, leased_limit=9, lease=LEASE, pace=PACE, now=at(0))
    bodies = [BODY, BODY, b"another", BODY]
    publications = []
    for fetch, body in zip(event.data.fetches, bodies, strict=True):
        reference, compressed = _with_body(body)
        outcome = fetched(body=reference)
        publications.append(Publication(event=wrap_attempted(attempted(fetch.id, outcome)), body=compressed))
    await publish(Appender(events, ATTEMPTED_STREAM), publications[:3])
    await bench.record.run_once()
    assert _samples(bench.metrics, "contents_total") == {"new": 2, "duplicate": 1}
    await publish(Appender(events, ATTEMPTED_STREAM), [publications[3], publications[0], publications[3]])  # two of them again
    await bench.record.run_once()
    assert _samples(bench.metrics, "contents_total") == {"new": 2, "duplicate": 2}
    assert _samples(bench.metrics, "content_bytes_total") == {"new": len(BODY) + 7, "duplicate": 2 * len(BODY)}


async def test_uploads_are_counted_too(pool: Pool, events: Redis) -> None:
    async with open_caller(pool, events) as caller:
        for _ in range(3):
            headers = {"X-Content-Size-Bytes": str(len(BODY))}
            path = f"/internal/v1/contents/{_digest(BODY)}"
            assert (await caller.http.put(path, content=zstandard.compress(BODY), headers=headers)).status_code == 204
        assert _samples(caller.metrics, "contents_total") == {"new": 1, "duplicate": 2}
        assert _samples(caller.metrics, "content_bytes_total") == {"new": len(BODY), "duplicate": 2 * len(BODY)}


async def test_transactions_are_counted_by_what_they_came_to(database_url: str) -> None:
    metrics = StoreMetrics()
    assert _samples(metrics, "database_transactions_total") == dict.fromkeys(
        ("committed", "retried", "unavailable", "refused"), 0
    )
    cuts = 1

    async def cut(connection: Connection) -> None:
        nonlocal cuts
        cuts -= 1
        if cuts >= 0:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async with open_pool(database_url, size=2, observer=metrics.servers) as pool:
        await in_transaction(pool, cut)
        with pytest.raises(DataRefused):
            await fetch_rows(pool, "INSERT INTO contents VALUES ('short', 1, 1, 'x', now())")
        cuts = 99
        with pytest.raises(DatabaseUnavailable):
            await in_transaction(pool, cut)
        with pytest.raises(ZeroDivisionError):
            await in_transaction(pool, _broken)
    counted = {"committed": 1, "retried": 3, "unavailable": 1, "refused": 1}
    assert _samples(metrics, "database_transactions_total") == counted
    assert _samples(metrics, "database_acquire_seconds_count")[""] == 7


async def _broken(connection: Connection) -> None:
    raise ZeroDivisionError


async def test_a_pool_that_is_lent_out_shows_and_waiting_in_vain_is_measured(database_url: str) -> None:
    metrics = StoreMetrics()
    async with open_pool(database_url, size=1, observer=metrics.servers) as pool:
        metrics.servers.show_connections(pool)
        assert _samples(metrics, "database_connections") == {"in_use": 0, "idle": 1}
        async with pool.acquire():
            assert _samples(metrics, "database_connections") == {"in_use": 1, "idle": 0}
            with pytest.raises(DatabaseUnavailable):
                await fetch_rows(pool, "SELECT 1")
    assert _samples(metrics, "database_acquire_seconds_sum")[""] >= 3 * ACQUIRE_TIMEOUT_SECONDS * 0.9
