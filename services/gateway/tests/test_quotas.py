"""Quotas: what a key may ask for in a minute, counted once for all gateways, and never past the limit."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from common.contracts.keys import KeyLimits
from common.streams.names import ACCEPTED_STREAM
from quota_words import pass_time
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from gateway.access.quotas import PREFIX, WINDOW_SECONDS, Quotas, Window, noting_charges
from gateway.errors import EventsUnavailable, Limit, QuotaExceeded
from gateway.principal import Principal


@pytest.fixture
def quotas(events: Redis) -> Quotas:
    """Counters in the events Redis."""
    return Quotas(events, timeout_seconds=5)


def _key(name: str = "k", *, fetches: int | None = None, requests: int | None = None) -> Principal:
    limits = KeyLimits(requests_per_minute=requests, fetches_per_minute=fetches)
    return Principal(actor=f"key:{name}", key_id=name, limits=limits)


async def _charge(quotas: Quotas, key: Principal, count: int) -> Window | QuotaExceeded:
    """How the limit stood after a charge, or the refusal."""
    with noting_charges() as charged:
        try:
            await quotas.charge_fetches(key, count)
        except QuotaExceeded as error:
            return error
        return charged[Limit.FETCHES]


async def test_a_key_without_limits_costs_no_call(events: Redis, quotas: Quotas) -> None:
    before = (await events.info("stats"))["total_commands_processed"]
    for key in (Principal(actor="key:first"), _key()):
        await quotas.charge_request(key)
        await quotas.charge_fetches(key, 10_000)
    assert (await events.info("stats"))["total_commands_processed"] == before + 1  # the look before


async def test_all_of_them_or_none_however_many_ask_at_once(quotas: Quotas) -> None:
    key = _key(fetches=100)
    found = await asyncio.gather(*(_charge(quotas, key, 30) for _ in range(20)))
    assert sum(isinstance(answer, Window) for answer in found) == 3
    assert isinstance(await _charge(quotas, key, 10), Window)
    assert isinstance(await _charge(quotas, key, 1), QuotaExceeded)


async def test_keys_and_limits_count_apart(events: Redis, quotas: Quotas) -> None:
    one, other = _key("one", fetches=5, requests=5), _key("other", fetches=5)
    for _ in range(5):
        await quotas.charge_request(one)
    await quotas.charge_fetches(one, 5)
    await quotas.charge_fetches(other, 5)
    with pytest.raises(QuotaExceeded) as refusal:
        await quotas.charge_request(one)
    assert refusal.value.limit is Limit.REQUESTS
    counters = [key.decode() async for key in events.scan_iter("*") if key != ACCEPTED_STREAM.encode()]
    assert len(counters) == 3 and all(counter.startswith(f"{PREFIX}:") for counter in counters)
    for counter in counters:
        assert 0 < await events.ttl(counter) <= 2 * WINDOW_SECONDS


async def test_the_window_slides(events: Redis, quotas: Quotas) -> None:
    key = _key(fetches=60)
    await quotas.charge_fetches(key, 60)
    for seconds, remaining in ((59, 0), (1.5, 1), (10, 11), (20, 31), (29, 60)):
        await pass_time(events, seconds)
        refusal = await _charge(quotas, key, 100)
        assert isinstance(refusal, QuotaExceeded) and f" {remaining} now" in refusal.detail
    await quotas.charge_fetches(key, 60)


@pytest.mark.parametrize("seed", range(25))
async def test_a_refused_charge_fits_when_it_was_told_to_come_back(events: Redis, quotas: Quotas, seed: int) -> None:
    """And a second before it does not: the wait is neither too short nor needlessly long."""
    chance = random.Random(seed)
    quota = chance.choice([1, 3, 10, 60, 1000])
    key = _key(fetches=quota)
    for _ in range(chance.randint(1, 6)):
        await _charge(quotas, key, chance.randint(1, quota))
        await pass_time(events, chance.uniform(0, 50))
    await _until_nothing_is_left(quotas, key)
    cost = chance.randint(1, quota)
    refusal = await _charge(quotas, key, cost)
    assert isinstance(refusal, QuotaExceeded) and 1 <= refusal.retry_after_seconds <= 2 * WINDOW_SECONDS
    if refusal.retry_after_seconds > 1:
        await pass_time(events, refusal.retry_after_seconds - 1.2)  # the wait is in whole seconds, and the test takes time too
        again = await _charge(quotas, key, cost)
        assert isinstance(again, QuotaExceeded) and again.retry_after_seconds <= 2
        await pass_time(events, 0.2)
    await pass_time(events, 1)
    assert isinstance(await _charge(quotas, key, cost), Window)


async def _until_nothing_is_left(quotas: Quotas, key: Principal) -> None:
    while not isinstance(window := await _charge(quotas, key, 1), QuotaExceeded):
        if window.remaining:
            await _charge(quotas, key, window.remaining)


async def test_more_than_ever_fits_is_refused_and_told_so(quotas: Quotas) -> None:
    refusal = await _charge(quotas, _key(fetches=10), 11)
    assert isinstance(refusal, QuotaExceeded) and refusal.retry_after_seconds == WINDOW_SECONDS
    assert refusal.detail == "This key may submit 10 fetches a minute: 10 now, and these are 11."
    assert isinstance(await _charge(quotas, _key(fetches=10), 10), Window)


def _window(**parts: float) -> Window:
    given = {"quota": 100, "previous": 0, "previous_seconds": 0.0, "current": 0, "current_seconds": 0.0} | parts
    return Window(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("window", "remaining", "seconds"),
    [
        (_window(), 100, 60),
        (_window(current=1, current_seconds=120), 99, 60),
        (_window(current=40, current_seconds=75.5), 60, 16),
        (_window(previous=60, previous_seconds=30, current=10, current_seconds=90), 60, 1),
        (_window(previous=6, previous_seconds=35, current=10, current_seconds=95), 87, 5),
        (_window(previous=100, previous_seconds=60, current=100, current_seconds=120), 0, 60),
    ],
)
def test_what_is_left_and_for_how_long_no_more(window: Window, remaining: int, seconds: int) -> None:
    assert (window.remaining, window.seconds) == (remaining, seconds)
    assert all(window.seconds_to_wait(cost) >= seconds for cost in range(1, 102))


@pytest.mark.parametrize(
    "stop",
    [
        lambda events: events.execute_command("CLIENT", "PAUSE", 5000, "WRITE"),
        lambda events: events.config_set("maxmemory", 1),
    ],
)
async def test_a_redis_that_does_not_count_is_said_to_be_away_in_time(
    events: Redis, stop: Callable[[Redis], "asyncio.Future[object]"]
) -> None:
    quotas = Quotas(events, timeout_seconds=0.1)
    await quotas.charge_request(_key(requests=5))
    await stop(events)
    started = asyncio.get_running_loop().time()
    try:
        with pytest.raises(EventsUnavailable):
            await quotas.charge_request(_key(requests=5))
        assert asyncio.get_running_loop().time() - started < 2
    finally:
        await events.execute_command("CLIENT", "UNPAUSE")
        await events.config_set("maxmemory", 0)
    await quotas.charge_request(_key(requests=5))


async def test_the_rights_of_the_gateways_user_suffice(
    events: Redis, events_as: Callable[[str], Awaitable[Redis]]
) -> None:
    mine = await events_as("gateway")
    quotas = Quotas(mine, timeout_seconds=5)
    await events.script_flush()
    key = _key(fetches=10)
    for seconds in (0, 61, 61):  # a first minute, one that becomes the minute before, and one that pushes it out
        await pass_time(events, seconds)
        await _charge(quotas, key, 3)
    for command in (["SET", f"{PREFIX}x", "1"], ["DEL", f"{PREFIX}:x"], ["SET", "fetchwork:v1:key-finished", "1"]):
        with pytest.raises(NoPermissionError):
            await mine.execute_command(*command)
