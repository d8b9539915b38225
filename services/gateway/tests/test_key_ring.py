"""The ring of keys over a real socket: follows changes, looks at once for new ones, goes on from memory, and never guesses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from common.contracts.keys import Scope
from gateway_words import key_parts, key_record, new_key, until
from little_store import TOKEN, LittleStore

from gateway.access.api_keys import ApiKey
from gateway.access.key_ring import REST_SECONDS, KeyRing
from gateway.access.key_use import REPORT_SECONDS, KeyUseReporter
from gateway.access.key_verdicts import judge_key
from gateway.errors import StoreUnavailable
from gateway.metrics import GatewayMetrics
from gateway.principal import Principal
from gateway.store_client import StoreClient

NOW = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)


class Watch:
    """A clock that a test turns."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def played(unused_tcp_port: int) -> AsyncIterator[LittleStore]:
    """A store of this test's own."""
    little = LittleStore()
    runner = web.AppRunner(little.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    yield little
    await runner.cleanup()


@pytest.fixture
async def store(played: LittleStore, unused_tcp_port: int) -> AsyncIterator[StoreClient]:
    """A client of that store."""
    client = StoreClient(base_url=f"http://127.0.0.1:{unused_tcp_port}", token=TOKEN, timeout_seconds=5, metrics=GatewayMetrics())
    yield client
    await client.close()


@asynccontextmanager
async def _ring(
    store: StoreClient,
    *,
    clock: Watch | None = None,
    metrics: GatewayMetrics | None = None,
    is_followed: bool = True,
    **limits: Any,
) -> AsyncIterator[KeyRing]:
    """A ring that polls hardly ever by itself."""
    parts = key_parts(store, clock=clock or Watch(), metrics=metrics or GatewayMetrics(), **limits)
    ring: KeyRing = parts["key_ring"]
    following = asyncio.create_task(ring.run() if is_followed else asyncio.sleep(0))
    try:
        yield ring
    finally:
        following.cancel()


def _put(played: Any, **members: Any) -> ApiKey:
    """A key that the store knows."""
    key = new_key()
    played.keys.put(key_record(key, now=NOW, **members))
    return key


async def test_many_pages_are_read_and_then_only_changes(played: LittleStore, store: StoreClient) -> None:
    keys = [_put(played) for _ in range(2500)]
    metrics = GatewayMetrics()
    async with _ring(store, metrics=metrics, poll_seconds=0.3) as ring:
        await until(lambda: ring.age_seconds == 0)
        assert metrics.registry.get_sample_value("fetchwork_keys_known") == 2500
        played.keys.put(played.keys.records[keys[0].id], revoked_at=NOW)
        readings = played.keys.readings
        await until(lambda: played.keys.readings > readings + 1)
        record = await ring.find(keys[0].id)
        assert record is not None and record.revoked_at == NOW, "nobody but the poll told of it"


async def test_a_new_key_is_found_at_once_and_an_unknown_one_is_none(played: LittleStore, store: StoreClient) -> None:
    async with _ring(store) as ring:
        await until(lambda: ring.age_seconds == 0)
        key = _put(played)
        async with asyncio.timeout(5):  # the poll comes after 25 s
            assert await ring.find(key.id) is not None
            assert await ring.find(new_key().id) is None


async def test_many_that_look_share_few_readings(played: LittleStore, store: StoreClient) -> None:
    async with _ring(store, lookups_limit=200) as ring:
        await until(lambda: ring.age_seconds == 0)
        before = played.keys.readings
        started = asyncio.get_running_loop().time()
        assert await asyncio.gather(*(ring.find(new_key().id) for _ in range(200))) == [None] * 200
        took_seconds = asyncio.get_running_loop().time() - started
        assert played.keys.readings - before <= 2 + took_seconds / REST_SECONDS


async def test_too_many_that_look_are_told_that_nobody_knows(played: LittleStore, store: StoreClient) -> None:
    metrics = GatewayMetrics()
    async with _ring(store, metrics=metrics, lookups_limit=3) as ring:
        await until(lambda: ring.age_seconds == 0)
        known = _put(played)
        await ring.find(known.id)
        answers = await asyncio.gather(*(ring.find(new_key().id) for _ in range(5)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None)] * 3 + [StoreUnavailable] * 2
        assert metrics.registry.get_sample_value("fetchwork_gate_refusals_total", {"gate": "key_lookups"}) == 2
        assert await ring.find(known.id) is not None and await ring.find(new_key().id) is None


async def test_before_anything_was_read_nobody_knows(played: LittleStore, store: StoreClient) -> None:
    played.is_broken = True
    metrics, key = GatewayMetrics(), _put(played)
    async with _ring(store, metrics=metrics) as ring:
        assert metrics.registry.get_sample_value("fetchwork_keys_age_seconds") == float("inf")
        ring.take(played.keys.records[key.id])
        for key_id in (key.id, new_key().id):
            with pytest.raises(StoreUnavailable):
                await ring.find(key_id)
        assert (metrics.registry.get_sample_value("fetchwork_key_failures_total", {"loop": "key_ring"}) or 0) >= 1
        played.is_broken = False
        assert await ring.find(key.id) is not None


async def test_while_the_store_is_away_it_goes_on_from_memory_for_so_long(played: LittleStore, store: StoreClient) -> None:
    clock, key = Watch(), _put(played)
    async with _ring(store, clock=clock) as ring:
        assert await ring.find(key.id) is not None
        played.is_broken = True
        clock.now = NOW + timedelta(seconds=3600)
        assert await ring.find(key.id) is not None
        with pytest.raises(StoreUnavailable):
            await ring.find(new_key().id)
        clock.now = NOW + timedelta(seconds=3601)
        with pytest.raises(StoreUnavailable):
            await ring.find(key.id)
        played.is_broken = False
        assert await ring.find(key.id) is not None, "who asks makes it read"


async def test_a_ring_that_nobody_runs_keeps_nobody_waiting_for_ever() -> None:
    impatient = StoreClient(base_url="http://127.0.0.1:9", token=TOKEN, timeout_seconds=0.1, metrics=GatewayMetrics())
    async with _ring(impatient, is_followed=False) as ring:
        with pytest.raises(StoreUnavailable, match="in time"):
            await ring.find(new_key().id)
    await impatient.close()


async def test_what_was_changed_here_is_in_force_at_once_and_stays_so(played: LittleStore, store: StoreClient) -> None:
    key = _put(played)
    async with _ring(store, is_followed=False) as ring:
        older = played.keys.records[key.id]
        newer = played.keys.put(older, revoked_at=NOW)
        ring.take(newer)
        ring.take(older)
        ring._as_of = NOW
        assert await ring.find(key.id) == newer


async def test_who_was_let_in_is_judged_again_by_what_it_came_with(played: LittleStore, store: StoreClient) -> None:
    key, other = new_key(), new_key()
    record = key_record(key, now=NOW, revision=1)
    later = NOW + timedelta(seconds=60)
    changes: list[tuple[dict[str, Any], bool]] = [
        ({"name": "renamed"}, True),
        ({"digest": other.digest}, False),  # rotated without an overlap: the secret had leaked
        ({"digest": other.digest, "previous_digest": key.digest, "previous_until": later}, False),
        ({"digest": other.digest, "previous_digest": key.digest, "previous_until": later + timedelta(seconds=1)}, True),
        ({"expires_at": later}, False),
        ({"revoked_at": NOW}, False),
        ({"scopes": frozenset({Scope.FETCH_WRITE})}, False),
    ]
    for changed, is_good in changes:
        async with _ring(store, is_followed=False) as ring:
            ring.take(record)
            caller = judge_key(record, key.digest, now=NOW)
            assert isinstance(caller, Principal) and ring.is_good(caller, now=NOW)
            ring.take(record.model_copy(update=changed | {"revision": 2}))
            assert ring.is_good(caller, now=later) is is_good, changed


async def test_after_a_restored_backup_everything_is_read_anew(played: LittleStore, store: StoreClient) -> None:
    lost, kept = _put(played), _put(played)
    async with _ring(store) as ring:
        assert await ring.find(lost.id) is not None
        del played.keys.records[lost.id]
        played.keys.revision = 0
        played.keys.put(played.keys.records[kept.id], name="as it was")
        assert await ring.find(new_key().id) is None
        assert await ring.find(lost.id) is None
        record = await ring.find(kept.id)
        assert record is not None and record.name == "as it was"


async def test_a_store_that_hides_what_it_tells_of_is_not_believed(played: LittleStore, store: StoreClient) -> None:
    played.keys.revision = 10**9
    async with _ring(store) as ring:
        with pytest.raises(StoreUnavailable):
            await ring.find(new_key().id)
        assert ring.age_seconds == float("inf")


async def test_uses_are_told_once_a_minute_and_kept_while_the_store_is_away(played: LittleStore, store: StoreClient) -> None:
    clock = Watch()
    reporter = KeyUseReporter(store, clock=clock)
    key = new_key()
    for seconds in range(3):
        clock.now = NOW + timedelta(seconds=seconds)
        reporter.note(key.id)
    played.is_broken = True
    with pytest.raises(StoreUnavailable):
        await reporter.run_once()
    played.is_broken = False
    assert await reporter.run_once() == REPORT_SECONDS
    await reporter.run_once()
    assert [(use.id, use.at) for use in played.keys.uses] == [(key.id, NOW + timedelta(seconds=2))]
    for number in range(1500):
        reporter.note(f"{number:012d}")
    assert (await reporter.run_once(), await reporter.run_once()) == (REPORT_SECONDS, REPORT_SECONDS)
    assert len(played.keys.uses) == 1501
