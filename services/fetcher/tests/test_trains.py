"""Trains: spaced by one worker, in order, in one slot; halted for every reason to; the last car's outcome always last."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
import structlog
from aiohttp import web
from common.clock import utc_now
from common.contracts.fetches import ErrorType, OutcomeKind
from tasks_rig import train_of

from fetcher.politeness.slowdowns import Slowdown

pytest_plugins = ["tasks_fixtures"]

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]
FETCHED, SNOOZED = OutcomeKind.FETCHED, OutcomeKind.SNOOZED


@dataclass
class Origin:
    """Answers by path, and notes when each request came and when its answer went. With a `gate`, not before that is set."""

    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    went: list[float] = field(default_factory=list)
    gate: asyncio.Event | None = None
    inside: int = 0
    most: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.came.append(monotonic())
        self.paths.append(request.path)
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.gate is not None:
            await self.gate.wait()
        self.inside -= 1
        self.went.append(monotonic())
        status = self.statuses.get(request.path, 200)
        return web.Response(status=status, headers=self.headers if status != 200 else {}, text="hello")

    @property
    def gaps(self) -> list[float]:
        """From the end of each answer to the next request."""
        return [came - went for came, went in zip(self.came[1:], self.went, strict=False)]


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
async def base(serve: Serve, origin: Origin) -> str:
    return await serve({"/{path:.*}": origin.answer})


def _cars(command: Any, base: str, count: int, **request: Any) -> list[Any]:
    return [command(f"{base}/{number}", **request) for number in range(count)]


async def test_cars_are_spaced_in_order_in_one_slot_over_one_connection(rig, base, origin, command, until: Until) -> None:
    it, cars = rig(slots=2), _cars(command, base, 4)
    with structlog.testing.capture_logs() as logs:
        await it.take(*train_of(*cars, delay_seconds=0.2))
        await until(lambda: it.published.publications)
        assert it.slots.busy == 1
        await until(lambda: it.slots.free == 2)
    assert origin.paths == ["/0", "/1", "/2", "/3"]
    assert all(gap >= 0.2 for gap in origin.gaps), origin.gaps
    assert [attempted.id for attempted in it.published.outcomes] == [car.id for car in cars]
    assert [attempted.outcome.evidence.hops[0].is_reused for attempted in it.published.outcomes] == [False, True, True, True]
    assert len([line for line in logs if line["event"] == "attempt finished"]) == 4


async def test_gap_counts_from_the_end_of_a_slow_answer(rig, base, origin, command, until: Until) -> None:
    it, origin.gate = rig(), asyncio.Event()
    await it.take(*train_of(*_cars(command, base, 2), delay_seconds=0.15))
    await until(lambda: origin.inside == 1)
    with pytest.raises(AssertionError):
        await until(lambda: origin.inside == 2, seconds=0.3)
    origin.gate.set()
    await until(lambda: len(it.published.outcomes) == 2)
    assert origin.gaps[0] >= 0.15


async def test_trains_and_lone_commands_run_side_by_side(rig, base, origin, command, until: Until) -> None:
    it, origin.gate = rig(), asyncio.Event()
    trains = (train_of(*_cars(command, base, 3)), train_of(*_cars(command, base, 3)))
    await it.take(*trains[0], *trains[1], command(f"{base}/alone"))
    await until(lambda: origin.inside == 3)
    assert it.slots.busy == 3
    origin.gate.set()
    await until(lambda: len(it.published.outcomes) == 7)
    assert origin.most == 3
    ids = [attempted.id for attempted in it.published.outcomes]
    for cars in trains:
        assert [found for found in ids if found in {car.id for car in cars}] == [car.id for car in cars]


async def test_single_car_is_a_train_too(rig, base, command, until: Until) -> None:
    it = rig()
    await it.take(*train_of(command(base), delay_seconds=600))
    await until(lambda: it.slots.free == 8 and it.published.kinds == [FETCHED])


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_rest_is_given_back_when_the_host_asks_to_slow_down(method: str, rig, base, origin, command, until) -> None:
    it, cars = rig(), _cars(command, base, 4, method=method)
    origin.statuses, origin.headers = {"/1": 429}, {"Retry-After": "120"}
    with structlog.testing.capture_logs() as logs:
        await it.take(*train_of(*cars))
        await until(lambda: it.slots.free == 8)
    outcomes = it.published.outcomes
    assert it.published.kinds == [FETCHED, FETCHED, SNOOZED, SNOOZED] and origin.paths == ["/0", "/1"]
    assert [attempted.id for attempted in outcomes] == [car.id for car in cars]
    told = outcomes[1].outcome.not_before
    assert told is not None and timedelta(seconds=115) < told - utc_now() <= timedelta(seconds=120)
    for attempted in outcomes[2:]:
        assert (attempted.outcome.not_before, attempted.outcome.error, attempted.outcome.is_retryable) == (told, None, False)
        assert attempted.started_at == attempted.finished_at
    assert it.sample("snoozed_total", reason="slowdown") == 2 and it.sample("slowdowns_total", source="own") == 1
    assert it.sample("attempt_duration_seconds_count", phase="total") == 2
    [line, _] = [line for line in logs if line["event"] == "fetch snoozed"]
    assert (line["reason"], line["host"]) == ("slowdown", base.removeprefix("http://")) and "/2" not in str(line)


async def test_bare_503_slows_down_for_a_moment(rig, base, origin, command, until: Until) -> None:
    it, origin.statuses = rig(), {"/0": 503}
    await it.take(*train_of(*_cars(command, base, 2)))
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED])
    first, second = (attempted.outcome for attempted in it.published.outcomes)
    assert first.not_before is None and second.not_before is not None
    assert second.not_before - utc_now() <= timedelta(seconds=1)
    await it.take(*train_of(command(f"{base}/late")))  # of another train, on another lane
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED])
    assert origin.paths == ["/0"]


async def test_slowdown_of_the_host_behind_a_redirect_is_that_hosts(rig, base, origin, command, serve, until: Until) -> None:
    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{base}/busy"})

    it, origin.statuses, origin.headers = rig(), {"/busy": 429}, {"Retry-After": "60"}
    here = await serve({"/{path:.*}": away}, address="127.0.0.2")
    await it.take(*train_of(*_cars(command, here, 3)))
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED])
    assert [attempted.outcome.not_before is None for attempted in it.published.outcomes] == [False, True, True]
    assert it.slowdowns.until(here.removeprefix("http://")) is None
    assert it.slowdowns.until(base.removeprefix("http://")) == it.published.outcomes[0].outcome.not_before


async def test_told_slowdown_stops_a_train_between_its_cars(rig, base, origin, command, until: Until) -> None:
    it, told = rig(), utc_now() + timedelta(seconds=50)
    await it.take(*train_of(*_cars(command, base, 3), delay_seconds=0.4))
    await until(lambda: it.published.publications)
    it.slowdowns.hear(Slowdown(host=base.removeprefix("http://"), until=told).model_dump_json().encode())
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED])
    assert [attempted.outcome.not_before for attempted in it.published.outcomes] == [None, told, told]
    assert origin.paths == ["/0"] and it.sample("slowdowns_total", source="told") == 1


async def test_told_slowdown_of_the_host_behind_a_redirect_stops_a_train_too(
    rig, base, origin, command, serve, until: Until
) -> None:
    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{base}/there"})

    it, here = rig(), await serve({"/{path:.*}": away}, address="127.0.0.2")
    await it.take(*train_of(*_cars(command, here, 3), delay_seconds=0.4))
    await until(lambda: it.published.publications)
    told = Slowdown(host=base.removeprefix("http://"), until=utc_now() + timedelta(seconds=50))
    it.slowdowns.hear(told.model_dump_json().encode())
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED])
    assert [attempted.outcome.not_before for attempted in it.published.outcomes] == [None] * 3  # its own host asked nothing
    assert origin.paths == ["/there"]


async def test_train_goes_no_longer_than_it_may(rig, base, origin, command, until: Until) -> None:
    it = rig()
    await it.take(*train_of(*_cars(command, base, 3), delay_seconds=20, seconds=10))
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED], seconds=5)  # at once: it is known by then
    assert it.sample("snoozed_total", reason="train_over") == 2 and origin.paths == ["/0"]


async def test_car_that_its_lease_may_not_last_for_is_given_back(rig, base, command, until: Until) -> None:
    it = rig()
    long, short = command(f"{base}/0"), command(f"{base}/1", lease_seconds=20, timeout_seconds=20)
    await it.take(*train_of(long, short, command(f"{base}/2")))
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED])
    assert it.sample("snoozed_total", reason="lease_short") == 2


async def test_cars_whose_lease_has_ended_are_dropped_unseen(rig, base, origin, command, until: Until) -> None:
    it = rig()
    await it.take(*train_of(command(f"{base}/0", lease_seconds=-1), command(f"{base}/1"), command(f"{base}/2", lease_seconds=-1)))
    await until(lambda: it.slots.free == 8)
    assert origin.paths == ["/1"] and it.published.kinds == [FETCHED]
    assert it.sample("commands_dropped_total", reason="lease_ended") == 2


async def test_dead_host_is_not_tried_with_every_car(rig, make_client, command, until: Until) -> None:
    it = rig()
    await it.take(*train_of(*_cars(command, "http://127.0.0.1:1", 3)))
    await until(lambda: it.published.kinds == [OutcomeKind.FAILED, SNOOZED, SNOOZED])
    error = it.published.outcomes[0].outcome.error
    assert error is not None and error.type is ErrorType.CONNECT
    assert it.sample("snoozed_total", reason="dead_host") == 2


async def test_failure_behind_the_connection_does_not_stop_a_train(rig, serve_raw, command, until: Until) -> None:
    async def hang_up(reader: asyncio.StreamReader, _writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")

    it, origin = rig(), await serve_raw(hang_up)
    await it.take(*train_of(command(origin.url()), command(origin.url())))
    await until(lambda: it.published.kinds == [OutcomeKind.FAILED] * 2)


async def test_draining_wakes_a_sleeping_train(rig, base, origin, command, until: Until) -> None:
    it = rig()
    await it.take(*train_of(*_cars(command, base, 3, lease_seconds=900), delay_seconds=300, seconds=900))
    await until(lambda: it.published.publications)
    it.draining.set()
    await until(lambda: it.published.kinds == [FETCHED, SNOOZED, SNOOZED], seconds=5)
    await it.take(*train_of(command(f"{base}/late")))
    await until(lambda: it.slots.free == 8 and it.published.kinds[3:] == [SNOOZED])
    assert it.sample("snoozed_total", reason="stopping") == 3 and origin.paths == ["/0"]


async def test_train_without_a_slot_is_given_back_as_soon_as_the_process_drains(rig, base, origin, command, until) -> None:
    it, origin.gate = rig(slots=1), asyncio.Event()
    await it.take(command(f"{base}/slow"))
    taking = asyncio.create_task(it.take(*train_of(*_cars(command, base, 2))))
    await until(lambda: origin.inside == 1)
    assert not taking.done()
    it.draining.set()
    it.slots.wake()
    await until(lambda: it.published.kinds == [SNOOZED, SNOOZED])
    await asyncio.wait_for(taking, timeout=5)
    assert it.slots.busy == 1
    origin.gate.set()
    await until(lambda: it.slots.free == 1)


async def test_train_that_waits_for_a_closed_slot_is_given_back(rig, base, command, until: Until) -> None:
    it = rig()
    it.slots.close()
    await it.take(*train_of(*_cars(command, base, 2)))
    await until(lambda: it.published.kinds == [SNOOZED, SNOOZED])
    assert it.slots.free == 8


async def test_outcomes_are_published_one_after_another_and_the_last_one_last(rig, base, origin, command, until) -> None:
    it, cars = rig(), _cars(command, base, 3)
    it.published.gate = asyncio.Event()
    await it.take(*train_of(*cars))
    await until(lambda: len(origin.went) == 2)  # the second is fetched while the first is published, and has to wait then
    with pytest.raises(AssertionError):
        await until(lambda: len(origin.went) == 3, seconds=0.2)
    assert it.published.publications == [] and it.slots.busy == 1
    it.published.gate.set()
    await until(lambda: it.slots.free == 8)
    assert [attempted.id for attempted in it.published.outcomes] == [car.id for car in cars]


async def test_sleeping_train_can_be_cancelled(rig, base, command, until: Until) -> None:
    it = rig()
    await it.take(*train_of(*_cars(command, base, 3, lease_seconds=900), delay_seconds=300, seconds=900))
    await until(lambda: it.published.publications)
    await asyncio.wait_for(it.tasks.finish(seconds=0), timeout=2)
    assert it.sample("commands_dropped_total", reason="stopping") == 2 and it.slots.free == 8


async def test_train_that_cannot_publish_can_be_cancelled(rig, base, command, until: Until, origin) -> None:
    it = rig()
    it.published.gate = asyncio.Event()
    await it.take(*train_of(*_cars(command, base, 3)))
    await until(lambda: len(origin.went) == 2)
    await asyncio.wait_for(it.tasks.finish(seconds=0), timeout=2)
    assert it.sample("commands_dropped_total", reason="stopping") == 3 and it.published.publications == []
