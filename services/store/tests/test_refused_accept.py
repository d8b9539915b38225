"""Promises that the database does not take: parked byte for byte, failed where their id is known, and nobody else is held up."""

import json
import secrets
from uuid import UUID

import pytest
from common.contracts.envelope import Envelope
from common.contracts.fetches import ErrorType, FetchesAccepted, FetchStatus
from common.contracts.views import FetchView
from common.streams.appender import Appender
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, INGESTING_HASH, STORE_GROUP
from common.streams.publisher import Publication, publish
from ingest_bench import Bench
from ledger_words import accepted, attempted, fetched, wrap_attempted
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.fetches.read import read_fetch
from store.maintenance.census import Census

MEBIBYTE = 1024 * 1024


async def _promise(events: Redis, event: Envelope[FetchesAccepted], *, text: str | None = None) -> bytes:
    """What a gateway does: the entry and the hash. Returns the bytes of the event."""
    raw = (text or event.model_dump_json()).encode()
    entry_id = await events.xadd(ACCEPTED_STREAM, {"event": raw})
    await events.hset(INGESTING_HASH, mapping={str(fetch.id): entry_id for fetch in event.data.fetches})
    return raw


async def _refuse_timeouts_of(pool: Pool, seconds: int) -> None:
    """A database that does not take some fetches, whatever the reason."""
    await fetch_rows(pool, f"ALTER TABLE fetch_queue ADD CONSTRAINT odd CHECK (timeout_seconds <> {seconds}) NOT VALID")


async def _view(pool: Pool, fetch_id: UUID) -> FetchView:
    view = await read_fetch(pool, fetch_id, has_fetcher=True)
    assert view is not None
    return view


async def _gap(bench: Bench, pool: Pool, events: Redis) -> float | None:
    await Census(pool=pool, redis=events, members=[], metrics=bench.metrics).run_once()
    return bench.metrics.registry.get_sample_value("fetchwork_conservation_gap")


async def _assert_nothing_hangs(events: Redis, stream: str) -> None:
    assert (await events.xpending(stream, STORE_GROUP))["pending"] == 0


POISON = {
    "undecodable": (b"\x00\xff\xfe not json", "undecodable"),
    "large": (b"\xff" * (3 * MEBIBYTE), "undecodable"),
    "wrong_type": (json.dumps({"id": "1", "source": "s", "type": "fetch.attempted.v1"}).encode(), "unknown_type"),
    "next_version": (accepted(1).model_dump_json().replace("fetch.accepted.v1", "fetch.accepted.v2").encode(), "unknown_type"),
    "surrogate": (accepted(1).model_dump_json().replace("http://a.test/0", "http://a.test/\\ud800").encode(), "undecodable"),
}


@pytest.mark.parametrize("name", POISON)
async def test_what_nobody_can_read_is_parked_as_it_came(pool: Pool, events: Redis, name: str) -> None:
    raw, reason = POISON[name]
    bench, before, after = Bench(events, pool), accepted(1), accepted(2)
    await _promise(events, before)
    await events.xadd(ACCEPTED_STREAM, {"event": raw})
    await _promise(events, after)
    await bench.accept.run_once()
    (letter,) = await fetch_rows(pool, "SELECT event, body, reason FROM dead_letters")
    assert (bytes(letter["event"]), letter["body"], letter["reason"].partition(":")[0]) == (raw, None, reason)
    assert {row["id"] for row in await fetch_rows(pool, "SELECT id FROM fetch_queue")} == {
        fetch.id for event in (before, after) for fetch in event.data.fetches
    }
    await _assert_nothing_hangs(events, ACCEPTED_STREAM)
    assert bench.parked(ACCEPTED_STREAM) == 1


async def test_a_body_of_three_megabytes_is_parked_with_its_event(pool: Pool, events: Redis) -> None:
    bench, body = Bench(events, pool), secrets.token_bytes(3 * MEBIBYTE)
    stranger = wrap_attempted(attempted(accepted(1).data.fetches[0].id, fetched()))
    await publish(Appender(events, ATTEMPTED_STREAM), [Publication(event=stranger, body=body)])
    await bench.record.run_once()
    (letter,) = await fetch_rows(pool, "SELECT event, body, reason FROM dead_letters")
    assert bytes(letter["body"]) == body and json.loads(letter["event"])["id"] == stranger.id
    await _assert_nothing_hangs(events, ATTEMPTED_STREAM)


async def test_a_nul_fails_its_fetch_and_no_other_of_the_same_event(pool: Pool, events: Redis) -> None:
    bench, event = Bench(events, pool), accepted(5)
    third = event.data.fetches[2]
    raw = await _promise(events, event, text=event.model_dump_json().replace("http://a.test/2", "http://a.test/\\u00002"))
    await _promise(events, accepted(1))
    await bench.accept.run_once()
    view = await _view(pool, third.id)
    assert (view.status, view.url) == (FetchStatus.FAILED, "http://a.test/2")
    assert view.error is not None and view.error.type is ErrorType.INTERNAL and "could not be stored" in view.error.detail
    assert len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")) == 5
    assert await events.hlen(INGESTING_HASH) == 0, "nobody waits for it any more"
    (letter,) = await fetch_rows(pool, "SELECT event FROM dead_letters")
    assert bytes(letter["event"]) == raw
    await _assert_nothing_hangs(events, ACCEPTED_STREAM)
    assert bench.metrics.registry.get_sample_value("fetchwork_fetches_finished_total", {"status": "failed"}) == 1
    (told,) = await fetch_rows(pool, "SELECT event FROM outbox")
    assert json.loads(told["event"])["data"]["id"] == str(third.id)
    assert await _gap(bench, pool, events) == 0


async def test_whatever_the_database_refuses_fails_and_is_parked_once(pool: Pool, events: Redis) -> None:
    await _refuse_timeouts_of(pool, 7)
    bench, good, bad = Bench(events, pool), accepted(3), accepted(2, timeout_seconds=7)
    both = good.data.fetches[:2] + bad.data.fetches + good.data.fetches[2:]
    event = good.model_copy(update={"data": FetchesAccepted(fetches=both)})
    await _promise(events, event)
    await bench.accept.run_once()
    assert {row["id"] for row in await fetch_rows(pool, "SELECT id FROM fetch_queue")} == {f.id for f in good.data.fetches}
    assert [(await _view(pool, fetch.id)).status for fetch in bad.data.fetches] == [FetchStatus.FAILED] * 2
    assert len(await fetch_rows(pool, "SELECT 1 FROM dead_letters")) == bench.parked(ACCEPTED_STREAM) == 1
    assert (await events.hlen(INGESTING_HASH), await _gap(bench, pool, events)) == (0, 0)


async def test_a_host_too_long_for_any_index_blocks_nothing(pool: Pool, events: Redis) -> None:
    bench, odd = Bench(events, pool), accepted(1, host=secrets.token_hex(2000))
    await _promise(events, odd)
    await _promise(events, accepted(1))
    await bench.accept.run_once()
    assert (await _view(pool, odd.data.fetches[0].id)).status is FetchStatus.FAILED
    assert len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")) == 1
    await _assert_nothing_hangs(events, ACCEPTED_STREAM)


@pytest.mark.parametrize(
    "change", [{"accepted_at": "0001-01-01T00:00:00+14:00"}, {"request": {"expires_at": "9999-12-31T23:59:59-14:00"}}]
)
async def test_a_time_that_no_database_knows_blocks_nothing(pool: Pool, events: Redis, change: dict[str, object]) -> None:
    bench, odd = Bench(events, pool), accepted(1)
    document = json.loads(odd.model_dump_json())
    fetch = document["data"]["fetches"][0]
    inner = change.get("request", {})
    fetch.update({**change, "request": fetch["request"] | inner})
    await _promise(events, odd, text=json.dumps(document))
    await _promise(events, accepted(1))
    await bench.accept.run_once()
    view = await _view(pool, odd.data.fetches[0].id)
    assert view.status is FetchStatus.FAILED and view.created_at.year > 2000
    assert len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")) == 1
    await _assert_nothing_hangs(events, ACCEPTED_STREAM)


async def test_a_crash_after_the_refusal_changes_nothing(pool: Pool, events: Redis) -> None:
    """Delivered again, the event is applied as any other: what is in the ledger stays."""
    await _refuse_timeouts_of(pool, 7)
    event = accepted(1, timeout_seconds=7)
    await _promise(events, event)
    await Bench(events, pool).accept.run_once()
    before = await fetch_rows(pool, "SELECT * FROM fetches")
    await events.xgroup_setid(ACCEPTED_STREAM, STORE_GROUP, "0")
    bench = Bench(events, pool)
    await bench.accept.run_once()
    assert await fetch_rows(pool, "SELECT * FROM fetches") == before
    assert len(await fetch_rows(pool, "SELECT 1 FROM dead_letters")) == 1 and bench.parked(ACCEPTED_STREAM) == 0
    assert len(await fetch_rows(pool, "SELECT 1 FROM outbox")) == 1
    assert await _gap(bench, pool, events) == 0


async def test_where_even_the_failure_is_refused_the_entry_is_parked_and_the_gap_shows_it(pool: Pool, events: Redis) -> None:
    await fetch_rows(pool, "ALTER TABLE fetches ADD CONSTRAINT odd CHECK (host <> 'odd.test')")
    bench = Bench(events, pool)
    await _promise(events, accepted(1, host="odd.test"))
    await _promise(events, accepted(1))
    await bench.accept.run_once()
    assert bench.parked(ACCEPTED_STREAM) == 1 and len(await fetch_rows(pool, "SELECT 1 FROM fetch_queue")) == 1
    assert (await events.hlen(INGESTING_HASH), await _gap(bench, pool, events)) == (1, 1)
    await _assert_nothing_hangs(events, ACCEPTED_STREAM)
