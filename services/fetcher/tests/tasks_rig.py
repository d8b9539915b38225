"""Tasks over real clients and real origins, and a stand-in for the reporter. A test file asks for `rig` by `pytest_plugins`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchAttempted, PerformFetch, PerformFetches
from common.streams.publisher import Publication

from fetcher.metrics import FetcherMetrics
from fetcher.politeness.slowdowns import Slowdowns
from fetcher.slots import Slots
from fetcher.tasks import Tasks


class Published:
    """Stands in for the reporter: remembers instead of publishing."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []

    async def report(self, publication: Publication, **_: Any) -> bool:
        self.publications.append(publication)
        return True

    @property
    def outcomes(self) -> list[FetchAttempted]:
        return [publication.event.data for publication in self.publications]


class Rig:
    """Tasks over a real client, with everything around them in reach."""

    def __init__(self, client: Any, *, slots: int, robots: Any = None) -> None:
        self.slots, self.published, self.draining = Slots(slots), Published(), asyncio.Event()
        self.metrics = FetcherMetrics(self.slots)
        self.slowdowns = Slowdowns(clock=utc_now, metrics=self.metrics)
        reporter: Any = self.published
        self.tasks = Tasks(
            asyncio.get_running_loop(),
            slots=self.slots,
            client=client,
            reporter=reporter,
            metrics=self.metrics,
            worker="w-1",
            clock=utc_now,
            robots=robots,
            slowdowns=self.slowdowns,
            draining=self.draining,
        )

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"fetchwork_{name}", labels)

    async def take(self, *commands: PerformFetch) -> None:
        await asyncio.to_thread(self.tasks.take_batch, message_of(*commands))


def message_of(*commands: PerformFetch, type: str = FETCH_PERFORM) -> str:
    data = PerformFetches(fetches=commands)
    return Envelope[PerformFetches].wrap(
        data, type=type, source="test", subject="batch", now=utc_now(), traceparent=None
    ).model_dump_json()


@pytest.fixture
async def rig(make_client: Callable[..., Any]) -> AsyncIterator[Callable[..., Rig]]:
    """Build tasks with so many slots."""
    rigs = []

    def make(*, slots: int = 8, client: Any = None, robots: Any = None) -> Rig:
        rigs.append(Rig(client or make_client(), slots=slots, robots=robots))
        return rigs[-1]

    yield make
    for made in rigs:
        await made.tasks.finish(seconds=0)
