"""What the fetcher counts moves when it happens, and by as much."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from aiohttp import web
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import PerformFetches
from tasks_rig import train_of

from fetcher.metrics import FetcherMetrics, status_class_of
from fetcher.slots import Slots

pytest_plugins = ["tasks_fixtures"]

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]


async def _packed(_request: web.Request) -> web.Response:
    response = web.Response(text="x" * 1000)
    response.enable_compression(web.ContentCoding.gzip)
    return response


@pytest.mark.parametrize("is_train", [True, False])
async def test_commands_wait_from_being_sent_to_their_trains_first_attempt(
    rig: Any, serve: Serve, command: Any, until: Until, is_train: bool
) -> None:
    it, base = rig(), await serve({"/": _packed})
    commands = (command(base), command(base))
    batch = PerformFetches(fetches=train_of(*commands) if is_train else commands)
    sent = Envelope[PerformFetches].wrap(
        batch, type=FETCH_PERFORM, source="t", subject="b", now=utc_now() - timedelta(seconds=7), traceparent=None
    )
    await asyncio.to_thread(it.tasks.take_batch, sent.model_dump_json())
    await until(lambda: len(it.published.outcomes) == 2)
    starts = 1 if is_train else 2
    assert it.sample("commands_received_total") == 2
    assert it.sample("command_wait_seconds_count") == it.sample("slot_wait_seconds_count") == starts
    assert 7 * starts <= (it.sample("command_wait_seconds_sum") or 0) < 7 * starts + 10
    assert (it.sample("command_wait_seconds_bucket", le="5.0"), it.sample("command_wait_seconds_bucket", le="1.0")) == (0, 0)


async def test_a_command_that_waits_for_a_slot_is_seen(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    gate = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    it = rig(slots=1)
    base = await serve({"/": slow})
    await it.take(command(base))
    second = asyncio.create_task(it.take(command(base)))
    await until(lambda: it.sample("commands_received_total") == 2)
    assert it.sample("slot_wait_seconds_count") == 1
    began = monotonic()
    await until(lambda: monotonic() - began > 0.06)
    gate.set()
    await second
    assert it.sample("slot_wait_seconds_count") == 2 and (it.sample("slot_wait_seconds_sum") or 0) >= 0.05


async def test_responses_of_origins_are_counted_by_class_and_bytes_by_kind(
    rig: Any, serve: Serve, command: Any, until: Until
) -> None:
    it = rig()

    async def missing(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    base = await serve({"/packed": _packed, "/missing": missing})
    await it.take(command(f"{base}/packed"), command(f"{base}/missing"), command("http://127.0.0.1:1/"))
    await until(lambda: len(it.published.outcomes) == 3)
    assert [it.sample("target_responses_total", status_class=name) for name in ("2xx", "4xx", "5xx")] == [1, 1, 0]
    wire, decoded = (it.sample("fetched_bytes_total", kind=kind) or 0 for kind in ("wire", "decoded"))
    assert decoded == 1000 and 0 < wire < 1000


def test_a_number_that_is_no_class_makes_no_new_series() -> None:
    assert [status_class_of(status) for status in (100, 204, 599, 600, 999)] == ["1xx", "2xx", "5xx", "other", "other"]


def test_a_clock_behind_the_stores_makes_no_negative_wait() -> None:
    metrics = FetcherMetrics(Slots(1))
    metrics.waited_for_start(-3)
    assert metrics.registry.get_sample_value("fetchwork_command_wait_seconds_sum") == 0
