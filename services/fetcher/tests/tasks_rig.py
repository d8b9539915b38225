"""Tasks over a real client, with a stand-in for the reporter that remembers, and trains for them to run."""

import asyncio
from typing import Any

from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchAttempted, OutcomeKind, PerformFetch, PerformFetches, Train
from common.streams.publisher import Publication

from fetcher.metrics import FetcherMetrics
from fetcher.politeness.slowdowns import Slowdowns
from fetcher.slots import Slots
from fetcher.tasks import Tasks


class Published:
    """Stands in for the reporter: remembers instead of publishing. With a `gate`, not before that is set."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.gate: asyncio.Event | None = None

    def report(self, publication: Publication, **_: Any) -> asyncio.Future[bool]:
        return asyncio.ensure_future(self._remember(publication))

    async def _remember(self, publication: Publication) -> bool:
        if self.gate is not None:
            await self.gate.wait()
        self.publications.append(publication)
        return True

    @property
    def outcomes(self) -> list[FetchAttempted]:
        return [publication.event.data for publication in self.publications]

    @property
    def kinds(self) -> list[OutcomeKind]:
        return [attempted.outcome.kind for attempted in self.outcomes]


class Rig:
    """Tasks over a real client, with everything around them in reach."""

    def __init__(self, client: Any, *, slots: int, robots: Any = None, takes: Any = None, large_bodies: Any = None) -> None:
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
            takes=takes,
            large_bodies=large_bodies,
        )

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"fetchwork_{name}", labels)

    async def take(self, *commands: PerformFetch) -> None:
        await asyncio.to_thread(self.tasks.take_batch, message_of(*commands))


def train_of(*commands: PerformFetch, delay_seconds: float = 0.0, seconds: float = 60.0) -> tuple[PerformFetch, ...]:
    """The same commands as the cars of one train."""
    train = Train(id=commands[-1].id, seconds=seconds, delay_seconds=delay_seconds)
    return tuple(command.model_copy(update={"train": train}) for command in commands)


def message_of(*commands: PerformFetch, type: str = FETCH_PERFORM) -> str:
    data = PerformFetches(fetches=commands)
    return Envelope[PerformFetches].wrap(
        data, type=type, source="test", subject="batch", now=utc_now(), traceparent=None
    ).model_dump_json()
