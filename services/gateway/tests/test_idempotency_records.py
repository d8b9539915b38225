"""The records as routes use them: one holder at a time, fingerprints that come late, limits, and what a crash leaves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from common.clock import utc_now
from common.contracts.fetches import AcceptedFetch, FetchRequest
from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from gateway.errors import EventsUnavailable, Limit, QuotaExceeded, RecordsFull
from gateway.idempotency.keys import RECORD_PREFIX, KeyedRequest, Reserved, record_name
from gateway.idempotency.limits import STANDARD, RecordLimits
from gateway.idempotency.records import Answer, Conflict, Fresh, IdempotencyRecords, Replay
from gateway.metrics import GatewayMetrics, KeyVerdict
from gateway.promises.publish import Publisher

ANSWER = Answer(status=202, headers=((b"location", b"/v1/batches/x"),), body=b"{}")
REUSED, IN_FLIGHT = Conflict(verdict=KeyVerdict.REUSED), Conflict(verdict=KeyVerdict.IN_FLIGHT)
WAIT_SECONDS = 10
API_KEY = "abcdefghijkl"


def keyed(fingerprint: bytes | None = b"f" * 32, *, tenant: str = "default", key: bytes = b"k") -> KeyedRequest:
    """A request that came with a key."""
    return KeyedRequest(tenant=tenant, record=record_name(tenant, key), fingerprint=fingerprint, bearer=b"Bearer mine")


def records_of(redis: Redis, limits: RecordLimits = STANDARD) -> IdempotencyRecords:
    """The records in that Redis."""
    return IdempotencyRecords(redis, limits=limits, clock=utc_now, metrics=GatewayMetrics(), timeout_seconds=5)


@pytest.fixture
def records(events: Redis) -> IdempotencyRecords:
    """Records with the standard limits."""
    return records_of(events)


async def publishing(redis: Redis, limits: RecordLimits = STANDARD) -> AsyncIterator[Publisher]:
    """A publisher that runs."""
    publisher = Publisher(
        redis, source="gateway/test", clock=utc_now, ingesting_limit=1000, timeout_seconds=5, record_limits=limits
    )
    running = asyncio.create_task(publisher.run())
    yield publisher
    running.cancel()


@pytest.fixture
async def publisher(events: Redis) -> AsyncIterator[Publisher]:
    """A publisher with the standard limits."""
    async for running in publishing(events):
        yield running


def fetch_of(reserved: Reserved | None = None) -> AcceptedFetch:
    """A fetch, of that id and time."""
    first = reserved or Reserved(id=new_fetch_id(), at=utc_now())
    request = FetchRequest(url="http://a.test/")
    return AcceptedFetch(id=first.id, host="a.test", accepted_at=first.at, request=request, key_id=API_KEY)


async def fresh(records: IdempotencyRecords, request: KeyedRequest) -> Fresh:
    """A claim that was given."""
    claim = await records.claim(request)
    assert isinstance(claim, Fresh), claim
    return claim


async def test_of_many_claims_one_is_given(records: IdempotencyRecords) -> None:
    claims = await asyncio.gather(*(records.claim(keyed()) for _ in range(32)))
    assert sum(isinstance(claim, Fresh) for claim in claims) == 1
    assert claims.count(IN_FLIGHT) == 31


async def test_tenants_do_not_meet(records: IdempotencyRecords) -> None:
    first = await fresh(records, keyed())
    second = await fresh(records, keyed(tenant="acme"))
    assert first.reserved != second.reserved
    await records.complete(first, ANSWER)
    assert await records.claim(keyed(tenant="acme")) == IN_FLIGHT


async def test_a_completed_request_is_replayed_to_the_same_and_refused_to_another(records: IdempotencyRecords) -> None:
    await records.complete(await fresh(records, keyed()), ANSWER)
    assert await records.claim(keyed()) == Replay(answer=ANSWER, fingerprint=b"f" * 32)
    assert await records.claim(keyed(b"g" * 32)) == REUSED


async def test_a_fingerprint_may_come_at_the_end(records: IdempotencyRecords) -> None:
    """As with a batch, whose body streams: who repeats it learns the first one's fingerprint, to compare at its own end."""
    claim = await fresh(records, keyed(None))
    assert await records.claim(keyed(None)) == IN_FLIGHT
    assert await records.claim(keyed()) == REUSED
    await records.complete(claim, ANSWER, fingerprint=b"h" * 32)
    assert await records.claim(keyed(None)) == Replay(answer=ANSWER, fingerprint=b"h" * 32)
    assert await records.claim(keyed()) == REUSED
    with pytest.raises(ValueError):
        await records.complete(claim, ANSWER)


async def test_a_streamed_request_does_not_take_over_anothers_key(records: IdempotencyRecords, publisher: Publisher) -> None:
    await publisher.publish([fetch_of()], traceparent=None, idempotency=keyed())
    assert await records.claim(keyed(None)) == REUSED
    await fresh(records, keyed(key=b"l"))
    assert await records.claim(keyed(None, key=b"l")) == REUSED


async def test_after_a_crash_the_next_try_has_the_same_id_once_the_lease_ends(events: Redis) -> None:
    records = records_of(events, RecordLimits(lease_seconds=1))
    first = await fresh(records, keyed())
    async with asyncio.timeout(WAIT_SECONDS):
        while not isinstance(second := await records.claim(keyed()), Fresh):
            assert second == IN_FLIGHT
            await asyncio.sleep(0.05)
    assert second.reserved == first.reserved and second.holder != first.holder
    await records.complete(first, Answer(status=200, headers=(), body=b"too late"))
    assert await records.renew(first) is False and await records.renew(second) is True
    await records.complete(second, ANSWER)
    assert await records.claim(keyed()) == Replay(answer=ANSWER, fingerprint=b"f" * 32)


async def test_a_lease_that_is_renewed_lasts(records: IdempotencyRecords, events: Redis) -> None:
    claim = await fresh(records, keyed())
    await events.hset(claim.request.record, "until", 1)
    assert await records.renew(claim) is True
    assert await records.claim(keyed()) == IN_FLIGHT


async def test_released_is_tried_again_and_forgotten_is_new(records: IdempotencyRecords) -> None:
    claim = await fresh(records, keyed())
    await records.release(claim)
    assert await records.claim(keyed(b"g" * 32)) == REUSED
    again = await fresh(records, keyed())
    assert again.reserved == claim.reserved
    await records.forget(again)
    assert (await fresh(records, keyed(b"g" * 32))).reserved != claim.reserved


async def test_a_route_that_crashed_after_its_promise_makes_no_second_fetch(
    records: IdempotencyRecords, publisher: Publisher, events: Redis
) -> None:
    """The record knows what was accepted under it, also when the ledger has taken that in."""
    claim = await fresh(records, keyed())
    for _ in range(2):
        acceptance = await publisher.publish([fetch_of(claim.reserved)], traceparent=None, idempotency=keyed())
        assert acceptance.verdict is None and acceptance.first == claim.reserved
        await events.delete(INGESTING_HASH)
        await records.forget(claim)  # which it is not, for something was accepted under it
        claim = await fresh(records, keyed())
    assert await events.xlen(ACCEPTED_STREAM) == 1
    assert await events.hgetall(KEY_ACCEPTED_HASH) == {API_KEY.encode(): b"1"}


async def test_a_promise_that_is_waited_for_is_in_flight_until_it_is_settled(
    records: IdempotencyRecords, publisher: Publisher
) -> None:
    first = fetch_of()
    await publisher.publish([first], traceparent=None, idempotency=keyed(), hold_seconds=30)
    assert (await publisher.publish([fetch_of()], traceparent=None, idempotency=keyed())).verdict is KeyVerdict.IN_FLIGHT
    reserved = Reserved(id=first.id, at=first.accepted_at)
    await records.settle(keyed(), reserved, status=200)
    replay = await publisher.publish([fetch_of()], traceparent=None, idempotency=keyed())
    assert (replay.is_replay, replay.status, replay.first) == (True, 200, reserved)


async def test_a_wait_that_broke_off_ends_as_a_promise(publisher: Publisher, events: Redis) -> None:
    first = fetch_of()
    await publisher.publish([first], traceparent=None, idempotency=keyed(), hold_seconds=30)
    await events.hset(keyed().record, "until", 1)
    replay = await publisher.publish([fetch_of()], traceparent=None, idempotency=keyed())
    assert (replay.is_replay, replay.status, replay.first.id) == (True, 202, first.id)


async def test_the_same_publish_once_more_is_new_once_more(publisher: Publisher, events: Redis) -> None:
    """redis-py repeats a call whose reply was lost: who was promised it must not be told that it is a replay."""
    fetch = fetch_of()
    for _ in range(2):
        assert not (await publisher.publish([fetch], traceparent=None, idempotency=keyed())).is_replay
        await events.delete(INGESTING_HASH)
    assert await events.xlen(ACCEPTED_STREAM) == 1
    assert await events.hgetall(KEY_ACCEPTED_HASH) == {API_KEY.encode(): b"1"}


@pytest.mark.parametrize(("others", "verdict"), [(3, KeyVerdict.NEW), (50, KeyVerdict.SHORTENED), (100, None)])
async def test_the_more_there_are_the_shorter_they_are_kept_and_then_none(
    events: Redis, others: int, verdict: KeyVerdict | None
) -> None:
    limits = RecordLimits(records=100)
    await events.mset({f"{RECORD_PREFIX}{number}": "" for number in range(others)})
    async for publisher in publishing(events, limits):
        if verdict is None:
            with pytest.raises(RecordsFull):
                await publisher.publish([fetch_of()], traceparent=None, idempotency=keyed())
            with pytest.raises(RecordsFull):
                await records_of(events, limits).claim(keyed(key=b"l"))
            assert not await events.xlen(ACCEPTED_STREAM)
            assert not (await publisher.publish([fetch_of()], traceparent=None)).is_replay  # without a key all goes on
            return
        assert (await publisher.publish([fetch_of()], traceparent=None, idempotency=keyed())).verdict is verdict
        await fresh(records_of(events, limits), keyed(key=b"l"))
    seconds = limits.retention_seconds if verdict is KeyVerdict.NEW else limits.short_retention_seconds
    for key in (b"k", b"l"):
        assert seconds - 60 < await events.ttl(record_name("default", key)) <= seconds


async def test_a_key_has_no_more_unfinished_fetches_than_its_limit(publisher: Publisher, events: Redis) -> None:
    async def publish(count: int, limit: int | None, **more: Any) -> None:
        await publisher.publish([fetch_of() for _ in range(count)], traceparent=None, queued_limit=limit, **more)

    await publish(2, None)
    await publish(2, 4, idempotency=keyed())
    with pytest.raises(QuotaExceeded) as refused:
        await publish(1, 4, idempotency=keyed(key=b"l"))
    assert refused.value.limit is Limit.QUEUED and refused.value.retry_after_seconds >= 1
    await publish(2, 4, idempotency=keyed())  # a replay asks for nothing
    await events.hset(KEY_FINISHED_HASH, API_KEY, 2)
    with pytest.raises(QuotaExceeded):
        await publish(3, 4)
    await publish(2, 4, idempotency=keyed(key=b"l"))
    assert await events.hget(KEY_ACCEPTED_HASH, API_KEY) == b"6"
    assert await events.hlen(INGESTING_HASH) == 6


async def test_submissions_that_leave_together_share_the_limit(publisher: Publisher, events: Redis) -> None:
    said = await asyncio.gather(
        *(publisher.publish([fetch_of()], traceparent=None, queued_limit=5) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, QuotaExceeded) for one in said) == 15
    assert await events.xlen(ACCEPTED_STREAM) == 5


async def test_the_rights_of_the_gateway_are_enough_and_few(events: Redis, events_url: str, repository: Path) -> None:
    lines = (repository / "deploy/redis/events.acl").read_text().splitlines()
    (rule,) = (line for line in lines if line.startswith("user gateway "))
    rule = rule.replace("#@events_gateway@", ">a-password")
    await events.execute_command("ACL", "SETUSER", "gateway", "reset", *_words(rule.removeprefix("user gateway ")))
    confined = Redis.from_url(f"redis://gateway:a-password@{events_url.rpartition('@')[2]}")
    try:
        records = records_of(confined)
        async for publisher in publishing(confined):
            await publisher.publish([fetch_of()], traceparent=None, queued_limit=9, idempotency=keyed(), hold_seconds=9)
            await records.settle(keyed(), Reserved(id=new_fetch_id(), at=datetime.now(UTC)), status=200)
            assert await publisher.recall(keyed()) is not None
        claim = await fresh(records, keyed(key=b"l"))
        await records.renew(claim)
        await records.complete(claim, ANSWER)
        await records.forget(await fresh(records, keyed(key=b"m")))
        for forbidden in (("DEL", ACCEPTED_STREAM), ("EXPIRE", INGESTING_HASH, 1), ("HSET", KEY_FINISHED_HASH, "k", 1)):
            with pytest.raises(NoPermissionError):
                await confined.execute_command(*forbidden)
    finally:
        await confined.aclose()
        await events.execute_command("ACL", "DELUSER", "gateway")


def _words(rule: str) -> list[str]:
    """The words of a rule; what is in parentheses is one."""
    words: list[str] = []
    for word in rule.split():
        if words and words[-1].startswith("(") and not words[-1].endswith(")"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words


async def test_a_redis_that_is_away_is_named(events: Redis) -> None:
    with pytest.raises(EventsUnavailable):
        await records_of(Redis.from_url("redis://127.0.0.1:1")).claim(keyed())
