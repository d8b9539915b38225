"""The time of the ledger, on a machine whose clock is wrong or jumps."""

import asyncio
from datetime import UTC, datetime, timedelta

from aiohttp import web
from common.contracts.clocks import LedgerTime
from prometheus_client import CollectorRegistry

from fetcher.ledger_clock import LedgerClock
from fetcher.report import StoreAddress, store_session

TRUE = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Machine:
    """Its wall clock and its monotonic one, set by hand."""

    def __init__(self, wall: datetime) -> None:
        self.wall, self.seconds = wall, 100.0
        self.registry = CollectorRegistry()
        self.clock = LedgerClock(wall=lambda: self.wall, now=lambda: self.seconds, registry=self.registry)

    def told(self, now: datetime, *, took_seconds: float = 0.0) -> None:
        asked_at, self.seconds = self.seconds, self.seconds + took_seconds
        self.clock.correct(LedgerTime(now=now), asked_at=asked_at, answered_at=self.seconds)


def test_without_a_store_it_is_the_machines_time_at_the_start_and_runs_on() -> None:
    machine = Machine(TRUE)
    machine.seconds += 5
    assert machine.clock() == TRUE + timedelta(seconds=5)


def test_a_wrong_start_is_corrected_by_the_store_and_shown() -> None:
    machine = Machine(TRUE + HOUR)
    machine.told(TRUE, took_seconds=0.2)
    assert machine.clock() == TRUE + timedelta(seconds=0.1)
    assert machine.registry.get_sample_value("fetchwork_clock_skew_seconds") == 3600 - 0.1


def test_a_jump_of_the_machines_clock_is_no_jump_of_the_ledgers() -> None:
    machine = Machine(TRUE)
    machine.told(TRUE)
    machine.wall -= HOUR
    machine.seconds += 1
    assert machine.clock() == TRUE + timedelta(seconds=1)


def test_a_small_difference_does_not_make_time_step_back() -> None:
    machine = Machine(TRUE)
    machine.told(TRUE - timedelta(seconds=0.2))
    assert machine.clock() == TRUE


async def test_it_asks_the_store_and_outlives_answers_that_are_none() -> None:
    answers = [web.Response(status=503), web.Response(text="soon"), web.json_response({"now": TRUE.isoformat()})]
    stopping = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return answers.pop(0)

    app = web.Application()
    app.router.add_get("/internal/v1/clock", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    machine = Machine(TRUE + HOUR)
    async with store_session() as session:
        store = StoreAddress(url=url, token="secret")
        keeping = asyncio.create_task(machine.clock.keep(store, session=session, stopping=stopping))
        async with asyncio.timeout(10):
            while answers:
                await asyncio.sleep(0.05)
            while machine.clock() != TRUE:
                await asyncio.sleep(0.05)
        stopping.set()
        await keeping
    await runner.cleanup()


def test_a_difference_that_a_slow_answer_explains_is_none() -> None:
    machine = Machine(TRUE)
    machine.told(TRUE + timedelta(seconds=0.1), took_seconds=0.9)
    assert machine.clock() == TRUE + timedelta(seconds=0.9)
    machine.told(TRUE + timedelta(seconds=100), took_seconds=0.9)
    assert machine.clock() == TRUE + timedelta(seconds=100.45)
