"""Attempts that are ready together go through each step of their way together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from common.clock import utc_now
from common.contracts.fetches import FetchRequest, PerformFetch, ResponseHead, Train
from common.ids import new_fetch_id

from fetcher.attempts import Attempts
from fetcher.egress.budgets import Budgets
from fetcher.egress.client import Exchange
from fetcher.egress.evidence import EvidenceLog
from fetcher.metrics import FetcherMetrics
from fetcher.perform import perform
from fetcher.politeness.slowdowns import Slowdowns
from fetcher.slots import Slots
from fetcher.train import TrainRun

MANY = 3


class ReadyClient:
    """Stands in for the client: every response is there at once, so that nothing but a step's end makes an attempt wait."""

    budgets = Budgets()

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    @asynccontextmanager
    async def exchange(self, request: FetchRequest, *, log: EvidenceLog, **_: Any) -> AsyncIterator[Exchange]:
        log.open_hop(request.url)
        self._steps.append("exchanged")
        yield Exchange(head=ResponseHead(status=200, final_url=request.url), coding="", length=5, chunks=self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield b"hello"


class ReadyReporter:
    """Stands in for the reporter: all is published at once."""

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    def report(self, *_: Any, **__: Any) -> asyncio.Future[bool]:
        self._steps.append("reported")
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done


def _command(*, train: Train | None = None) -> PerformFetch:
    lease_ends_at = utc_now() + timedelta(seconds=120)
    request = FetchRequest(url="http://127.0.0.1/")
    return PerformFetch(id=new_fetch_id(), dispatch_seq=1, lease_ends_at=lease_ends_at, train=train, request=request)


async def test_no_body_is_packed_before_all_that_are_there_are_read() -> None:
    steps: list[str] = []
    client: Any = ReadyClient(steps)

    async def attempt() -> None:
        attempted = await perform(_command(), client=client)
        steps.append(f"judged {attempted.outcome.kind}")

    await asyncio.gather(*(attempt() for _ in range(MANY)))
    assert steps == ["exchanged"] * MANY + ["judged fetched"] * MANY


async def test_no_train_goes_on_before_all_that_are_there_have_reported() -> None:
    steps: list[str] = []
    client: Any = ReadyClient(steps)
    reporter: Any = ReadyReporter(steps)
    metrics = FetcherMetrics(Slots(MANY))
    slowdowns = Slowdowns(clock=utc_now, metrics=metrics)
    attempts = Attempts(
        client=client,
        reporter=reporter,
        metrics=metrics,
        slowdowns=slowdowns,
        worker="w",
        clock=utc_now,
        large_bodies=metrics.large_bodies,
    )
    trains = []
    for _ in range(MANY):
        train = Train(id=new_fetch_id(), seconds=60)
        cars = (_command(train=train), _command(train=train))
        trains.append(TrainRun(cars, attempts=attempts, slowdowns=slowdowns, draining=asyncio.Event()))
    await asyncio.gather(*(train.run() for train in trains))
    assert steps == (["exchanged"] * MANY + ["reported"] * MANY) * 2
