"""From a real stream to a real ledger: crashes, take-over, poison and skew."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from common.streams.appender import Appender
from common.streams.consumer import StreamEntry
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, FEED_STREAM, INGESTING_HASH, STORE_GROUP
from common.streams.publisher import Publication, publish
from common.streams.trim import trim_acknowledged
from ingest_bench import Bench
from ledger_words import accept_events, accepted, attempted, fetched, wrap_attempted
from redis.asyncio import Redis
from store.consumer import parts_of
from store.database import Pool, fetch_rows, open_pool
from store.errors import DatabaseUnavailable
from store.maintenance.stream_trimmer import StreamTrimmer


async def _fetches(pool: Pool) -> int:
    return int((await fetch_rows(pool, "SELECT count(*) FROM fetches"))[0][0])


async def _pending(redis: Redis, stream: str) -> int:
    return int((await redis.xpending(stream, STORE_GROUP))["pending"])


def test_what_many_large_events_say_is_applied_in_parts() -> None:
    entries = [StreamEntry(id=f"{number}-0", event=b"x" * size) for number, size in enumerate((60, 40, 1, 500, 30, 30))]
    parts = [[len(entry.event) for entry in part] for part in parts_of(entries, limit_bytes=100)]
    assert parts == [[60, 40], [1], [500], [30, 30]]


async def test_many_events_of_many_fetches_are_applied_and_acknowledged_in_parts(events: Redis, pool: Pool) -> None:
    """Ten thousand fetches in one delivery."""
    large = [accepted(1000, host=f"h{number}.test") for number in range(10)]
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=event) for event in large])
    bench = Bench(events, pool)
    await bench.accept.run_once()
    assert await _fetches(pool) == 10_000 and await _pending(events, ACCEPTED_STREAM) == 0
    assert (bench.metrics.registry.get_sample_value("fetchwork_ingest_seconds_count", {"stream": ACCEPTED_STREAM}) or 0) > 2


async def test_there_is_no_lag_before_there_is_a_stream(events: Redis, pool: Pool) -> None:
    assert await Bench(events, pool).accept_member.lag() == 0


async def test_an_accepted_event_reaches_the_ledger_and_is_acknowledged(events: Redis, pool: Pool) -> None:
    bench, event = Bench(events, pool), accepted(3)
    await events.hset(INGESTING_HASH, mapping={str(fetch.id): "1-1" for fetch in event.data.fetches})
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=event)])
    await bench.accept.run_once()
    assert await _fetches(pool) == 3
    assert await _pending(events, ACCEPTED_STREAM) == 0
    assert await events.hlen(INGESTING_HASH) == 0
    assert await bench.accept_member.lag() == 0
    assert bench.woken == 1


async def test_events_older_than_the_group_are_read_too(events: Redis, pool: Pool) -> None:
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await Bench(events, pool).accept.run_once()
    assert await _fetches(pool) == 1


async def test_a_crash_before_the_acknowledgement_delivers_again_and_changes_nothing(events: Redis, pool: Pool) -> None:
    event = accepted(2)
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=event)])
    crashed = Bench(events, pool)
    await crashed.accept_member.ensure_group()
    assert len(await crashed.accept_member.read_new()) == 1
    await accept_events(pool, event, now=None)  # committed, never acknowledged
    await Bench(events, pool).accept.run_once()
    assert await _fetches(pool) == 2
    assert await _pending(events, ACCEPTED_STREAM) == 0


async def test_entries_of_a_store_that_vanished_are_taken_over(events: Redis, pool: Pool) -> None:
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    gone = Bench(events, pool, name="store-gone")
    await gone.accept_member.ensure_group()
    await gone.accept_member.read_new()
    await Bench(events, pool, takeover_idle_ms=0).accept.run_once()
    assert await _fetches(pool) == 1


async def test_a_store_that_is_cut_off_acknowledges_nothing_and_leaves_its_entries_to_others(
    events: Redis, database_url: str, pool: Pool
) -> None:
    async with open_pool(database_url, size=4) as closing:
        bench = Bench(events, closing)
        await bench.accept.run_once()
        await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
        await closing.close()
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await bench.accept.run_once()
    [entry] = await events.xpending_range(ACCEPTED_STREAM, STORE_GROUP, "-", "+", 10)
    assert entry["times_delivered"] == 1, "it was read again, which starts its idle time anew"
    await Bench(events, pool, name="store-other", takeover_idle_ms=0).accept.run_once()
    assert await _fetches(pool) == 1


async def test_a_batch_that_failed_is_read_again_by_the_same_loop(events: Redis, pool: Pool) -> None:
    bench = Bench(events, pool)
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await bench.accept.run_once()
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await fetch_rows(pool, "ALTER TABLE fetches RENAME TO gone")
    with pytest.raises(asyncpg.UndefinedTableError):
        await bench.accept.run_once()
    await fetch_rows(pool, "ALTER TABLE gone RENAME TO fetches")
    await bench.accept.run_once()
    assert await _fetches(pool) == 2


async def test_poison_is_parked_with_its_bytes_and_its_neighbours_are_stored(events: Redis, pool: Pool) -> None:
    bench = Bench(events, pool)
    await events.xadd(ACCEPTED_STREAM, {"event": b"\x00\xffnot json"})
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await events.xadd(ACCEPTED_STREAM, {"other": b"no event at all"})
    await events.xadd(ACCEPTED_STREAM, {"event": json.dumps({"id": "1", "source": "s", "type": "fetch.accepted.v9"})})
    await bench.accept.run_once()
    assert await _fetches(pool) == 1
    assert await _pending(events, ACCEPTED_STREAM) == 0
    assert bench.parked(ACCEPTED_STREAM) == 3
    rows = await fetch_rows(pool, "SELECT event, reason FROM dead_letters ORDER BY id")
    assert sorted(row["reason"].partition(":")[0] for row in rows) == ["undecodable", "undecodable", "unknown_type"]
    assert b"\x00\xffnot json" in [row["event"] for row in rows]


async def test_what_the_database_refuses_is_parked_alone(events: Redis, pool: Pool) -> None:
    """A NUL cannot be stored in jsonb: only that event is refused, not the batch it came with."""
    bench = Bench(events, pool)
    bad = accepted(1)
    text = bad.model_dump_json().replace("http://a.test/0", "http://a.test/\\u0000")
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await events.xadd(ACCEPTED_STREAM, {"event": text})
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await bench.accept.run_once()
    statuses = await fetch_rows(pool, "SELECT status, count(*) AS n FROM fetches GROUP BY status")
    assert {row["status"]: row["n"] for row in statuses} == {"queued": 2, "failed": 1}
    assert bench.parked(ACCEPTED_STREAM) == 1
    assert await _pending(events, ACCEPTED_STREAM) == 0


async def test_an_event_with_fields_of_a_newer_release_is_read(events: Redis, pool: Pool) -> None:
    document = json.loads(accepted(1).model_dump_json())
    document["dataschema"] = "later"
    document["data"]["fetches"][0]["colour"] = "blue"
    await events.xadd(ACCEPTED_STREAM, {"event": json.dumps(document)})
    await Bench(events, pool).accept.run_once()
    assert await _fetches(pool) == 1


async def test_an_attempt_of_a_fetch_that_was_never_accepted_is_parked(events: Redis, pool: Pool) -> None:
    bench = Bench(events, pool)
    stranger = accepted(1).data.fetches[0].id
    await publish(Appender(events, ATTEMPTED_STREAM), [Publication(event=wrap_attempted(attempted(stranger, fetched())))])
    await bench.record.run_once()
    assert bench.parked(ATTEMPTED_STREAM) == 1


async def test_the_group_is_made_again_after_a_flush(events: Redis, pool: Pool) -> None:
    bench = Bench(events, pool)
    await bench.accept.run_once()
    assert not bench.wiped_at(ACCEPTED_STREAM)
    await events.flushall()
    with pytest.raises(Exception, match="NOGROUP"):
        await bench.accept.run_once()
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await bench.accept.run_once()
    assert await _fetches(pool) == 1
    assert bench.wiped_at(ACCEPTED_STREAM) and not bench.wiped_at(ATTEMPTED_STREAM)


async def test_a_first_start_is_no_wipe_and_an_empty_redis_beside_a_full_ledger_is(events: Redis, pool: Pool) -> None:
    first = Bench(events, pool)
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    await first.accept.run_once()
    again = Bench(events, pool)
    await again.accept.run_once()
    assert not first.wiped_at(ACCEPTED_STREAM) and not again.wiped_at(ACCEPTED_STREAM)
    await events.flushall()
    after = Bench(events, pool)
    await after.accept.run_once()
    assert after.wiped_at(ACCEPTED_STREAM)


async def test_the_stream_is_made_only_when_a_wipe_has_been_noted(
    events: Redis, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    bench = Bench(events, pool)
    with monkeypatch.context() as patched:
        patched.setattr("store.consumer.note_wipe", fail)  # a ledger that is away just then and not before
        with pytest.raises(DatabaseUnavailable):
            await bench.accept.run_once()
    assert not await events.exists(ACCEPTED_STREAM)
    await bench.accept.run_once()
    assert await events.exists(ACCEPTED_STREAM)


async def test_trimming_never_drops_an_unacknowledged_entry(events: Redis, pool: Pool) -> None:
    member = Bench(events, pool).accept_member
    await member.ensure_group()
    for _ in range(5):
        await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])
    entries = await member.read_new()
    await member.acknowledge([entries[0].id, entries[1].id, entries[4].id])
    await publish(Appender(events, ACCEPTED_STREAM), [Publication(event=accepted(1))])  # not even delivered
    far_future_ms = 2**45
    assert await trim_acknowledged(events, ACCEPTED_STREAM, keep_after_ms=far_future_ms) == 2
    assert [entry.id for entry in await member.read_own_pending("0")] == [entries[2].id, entries[3].id]
    assert len(await member.read_new()) == 1


async def test_the_trimmer_frees_what_is_done_and_keeps_what_may_be_replayed(events: Redis, pool: Pool) -> None:
    bench = Bench(events, pool)
    for ingest, stream in ((bench.accept, ACCEPTED_STREAM), (bench.record, ATTEMPTED_STREAM)):
        await events.xadd(stream, {"event": b"garbage"})
        await ingest.run_once()  # parked and acknowledged
    await events.xadd(FEED_STREAM, {"event": b"told"})
    later = datetime.now(UTC) + timedelta(seconds=60)

    async def trim(retention_seconds: float) -> list[int]:
        trimmer = StreamTrimmer(
            redis=events,
            clock=lambda: later,
            accepted_retention_seconds=retention_seconds,
            feed_retention_seconds=retention_seconds,
        )
        await trimmer.run_once()
        return [await events.xlen(stream) for stream in (ACCEPTED_STREAM, ATTEMPTED_STREAM)]

    # The bound is the last delivered id, which itself stays: one entry at most outlives its use.
    await events.xadd(ATTEMPTED_STREAM, {"event": b"garbage"})
    await bench.record.run_once()
    await events.xadd(ACCEPTED_STREAM, {"event": b"garbage"})
    await bench.accept.run_once()
    assert await trim(3600) == [2, 1]
    assert await trim(1) == [1, 1]
