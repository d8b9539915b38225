"""What every process says of itself: its dependencies, its event loop, its loops and its connections."""

import asyncio
import time
from collections.abc import Callable

from common.chassis.lifecycle import Pass
from common.chassis.metrics import ChassisMetrics, LoopMetrics
from common.chassis.watcher import LAG_WINDOW_SECONDS, TICK_SECONDS, LoopLag, Watcher
from common.streams.connection import connect_redis
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

LAG = "fetchwork_event_loop_lag_seconds"


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def _chassis(*dependencies: str) -> tuple[CollectorRegistry, ChassisMetrics]:
    registry = CollectorRegistry()
    return registry, ChassisMetrics(registry, service="test", dependencies=dependencies, pools=("events",))


async def test_a_dependency_is_tried_again_and_again_without_a_scrape() -> None:
    registry, metrics = _chassis("wire", "other")
    is_well = True

    async def wire() -> None:
        if not is_well:
            raise ConnectionError

    async def other() -> None:
        return

    def up(name: str) -> float | None:
        return registry.get_sample_value("fetchwork_dependency_up", {"dependency": name})

    assert (up("wire"), registry.get_sample_value("fetchwork_dependency_checked_timestamp_seconds")) == (0, 0)
    watching = asyncio.create_task(Watcher({"wire": wire, "other": other}, metrics=metrics, every_seconds=0.01).run())
    await _until(lambda: up("wire") == 1)
    is_well = False
    await _until(lambda: up("wire") == 0)
    assert up("other") == 1
    checked = registry.get_sample_value("fetchwork_dependency_checked_timestamp_seconds") or 0
    assert abs(time.time() - checked) < 10
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_loop_that_is_held_up_shows_while_it_is_and_afterwards() -> None:
    registry, metrics = _chassis()
    watching = asyncio.create_task(Watcher({}, metrics=metrics).run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    def hold_up() -> float:
        time.sleep(TICK_SECONDS + 0.3)  # the event loop stands still, and another thread may look
        return registry.get_sample_value(LAG) or 0

    assert hold_up() >= 0.25
    await _until(lambda: (registry.get_sample_value(LAG) or 0) >= 0.25)
    watching.cancel()
    await asyncio.wait([watching])


def test_lag_is_forgotten_after_a_minute() -> None:
    lag = LoopLag()
    assert lag.worst(now=5) == 0
    lag.woke(now=10)
    assert lag.worst(now=10) == 0
    lag.woke(now=12)
    assert lag.worst(now=12) == 2 - TICK_SECONDS
    lag.woke(now=12 + TICK_SECONDS)
    lag.woke(now=12 + TICK_SECONDS * 2)
    assert lag.worst(now=13) == 2 - TICK_SECONDS
    for tick in range(int(LAG_WINDOW_SECONDS / TICK_SECONDS) + 1):
        lag.woke(now=12.5 + TICK_SECONDS * tick)
    assert lag.worst(now=12.5 + LAG_WINDOW_SECONDS) == 0


def test_passes_of_a_loop_are_counted_from_zero() -> None:
    registry = CollectorRegistry()
    loops = LoopMetrics(registry)
    loops.expect("census")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"fetchwork_loop_{name}", {"loop": "census", **labels})

    assert (value("passes_total", result="ok"), value("passes_total", result="failed"), value("failures_total")) == (0, 0, 0)
    loops.note(Pass(loop="census", seconds=0.02, is_ok=False))
    assert (value("passes_total", result="failed"), value("failures_total")) == (1, 1)
    assert value("last_success_timestamp_seconds") == 0
    loops.note(Pass(loop="census", seconds=3, is_ok=True))
    assert (value("passes_total", result="ok"), value("failures_total")) == (1, 1)
    assert abs(time.time() - (value("last_success_timestamp_seconds") or 0)) < 10
    assert (value("pass_duration_seconds_count"), value("pass_duration_seconds_sum")) == (2, 3.02)


async def test_connections_are_shown_by_what_they_do(events_url: str, events: Redis) -> None:
    registry, metrics = _chassis()
    client = connect_redis(events_url, max_connections=7)
    metrics.watch_pool("events", client)

    def connections() -> tuple[float | None, ...]:
        labels = ({"pool": "events", "state": state} for state in ("in_use", "idle"))
        return tuple(registry.get_sample_value("fetchwork_redis_connections", found) for found in labels)

    assert registry.get_sample_value("fetchwork_limit", {"link": "redis_connections_events"}) == 7
    assert connections() == (0, 0)
    waiting = asyncio.create_task(client.blpop(["nothing"], timeout=5))
    await _until(lambda: connections() == (1, 0))
    await events.rpush("nothing", "now")
    await waiting
    assert connections() == (0, 1)
    await client.aclose()


def test_a_process_tells_of_itself_and_of_its_drain() -> None:
    registry, metrics = _chassis()
    assert registry.get_sample_value("fetchwork_draining") == 0
    metrics.draining.set(True)
    assert registry.get_sample_value("fetchwork_draining") == 1
    assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 0
