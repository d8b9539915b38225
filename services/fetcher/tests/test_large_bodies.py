"""Large bodies wait for a place in memory, and keep it until they are reported; small ones never wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from common.contracts.fetches import ErrorType, OutcomeKind

from fetcher.large_bodies import FREE_BYTES, LargeBodies

pytest_plugins = ["tasks_fixtures"]

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]


def _bodies() -> dict[str, Any]:
    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"l" * (FREE_BYTES + 1))

    async def small(_request: web.Request) -> web.Response:
        return web.Response(body=b"s" * FREE_BYTES)

    return {"/large": large, "/small": small}


async def test_a_large_body_keeps_its_place_until_it_is_reported(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    waits: list[float] = []
    places = LargeBodies(1, on_wait=waits.append)
    it, base = rig(large_bodies=places), await serve(_bodies())
    it.published.gate = asyncio.Event()
    await it.take(command(f"{base}/large"))
    await until(lambda: places.busy == 1)
    await it.take(command(f"{base}/large"), command(f"{base}/small"))
    await until(lambda: it.sample("attempt_duration_seconds_count", phase="total") == 2)
    it.published.gate.set()
    await until(lambda: len(it.published.outcomes) == 3)
    assert set(it.published.kinds) == {OutcomeKind.FETCHED}
    await until(lambda: places.busy == 0)
    assert len(waits) == 2 and max(waits) > 0


async def test_what_gets_no_place_in_time_is_our_fault(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    places = LargeBodies(1)
    it, base = rig(large_bodies=places), await serve(_bodies())
    await places.take()
    await it.take(command(f"{base}/large", timeout_seconds=0.5))
    await until(lambda: it.published.outcomes)
    [outcome] = [attempted.outcome for attempted in it.published.outcomes]
    assert outcome.error is not None and outcome.error.type is ErrorType.INTERNAL and outcome.is_retryable
    places.give_back()
    await it.take(command(f"{base}/large"))
    await until(lambda: len(it.published.outcomes) == 2)
    await until(lambda: places.busy == 0)


async def test_a_failed_attempt_gives_its_place_back(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    places = LargeBodies(1)
    it, base = rig(large_bodies=places), await serve(_bodies())
    await it.take(command(f"{base}/large", max_bytes=FREE_BYTES))
    await until(lambda: it.published.outcomes)
    assert it.published.kinds == [OutcomeKind.FAILED]
    await until(lambda: places.busy == 0)
