"""The dispatcher: sends due fetches to the fetchers, and only as many as they have announced slots for.

A backlog stays in Postgres, where it is only rows. Any number of dispatchers may run.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from common.chassis.lifecycle import rest_unless
from common.contracts.fetches import PerformFetch
from redis.asyncio import Redis

from store.database import Pool
from store.dispatch.broker import BrokerState, read_broker, set_marker
from store.dispatch.claim import Claimed, ClaimLimits, Lease, claim, end_leases, next_look_seconds, postgres_now, release
from store.dispatch.commands import CommandSender
from store.errors import BrokerUnavailable
from store.gather import gather_seconds
from store.hosts.pace import PaceSettings
from store.metrics import StoreMetrics

BROKER_LOOK_SECONDS = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchLimits:
    """How much one claim takes, one command carries, and all workers together may hold."""

    claim_fetches: int
    batch_fetches: int
    leased_fetches: int
    rounds: float
    poll_seconds: float


class Dispatcher:
    """Claims due fetches and sends them. `wake` cuts its rest short when there may be something new to do."""

    name = "dispatcher"

    def __init__(
        self,
        *,
        pool: Pool,
        broker: Redis,
        sender: CommandSender,
        limits: DispatchLimits,
        lease: Lease,
        pace: PaceSettings,
        metrics: StoreMetrics,
    ) -> None:
        self.wake = asyncio.Event()
        self._pool = pool
        self._broker = broker
        self._sender = sender
        self._limits = limits
        self._lease = lease
        self._pace = pace
        self._metrics = metrics
        self._state = BrokerState(slots=0, workers=0, has_marker=False)
        self._next_look = 0.0

    @property
    def has_fetcher(self) -> bool:
        """Whether any worker announced slots when last looked."""
        return self._state.slots > 0

    @property
    def fleet(self) -> BrokerState:
        """The workers and their slots when last looked."""
        return self._state

    async def run_once(self) -> float:
        """One pass: look at the broker now and then, claim, send; rests when nothing was due. Raises on our own faults."""
        self.wake.clear()
        await self._look_at_broker()
        trains = await self._claim() if self.has_fetcher else []
        if trains:
            await self._send([[fetch.command for fetch in train] for train in trains])
            return gather_seconds(sum(map(len, trains)), limit=self._limits.claim_fetches)
        await rest_unless(self.wake, await self._rest_seconds())
        return 0

    async def _rest_seconds(self) -> float:
        """Until the next host opens, a poll at most. One that is open and gave nothing is held by another dispatcher, or full."""
        opens_in = await next_look_seconds(self._pool, now=None) if self.has_fetcher else None
        if opens_in is None or opens_in <= 0:
            return self._limits.poll_seconds
        return min(opens_in, self._limits.poll_seconds)

    async def _look_at_broker(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return
        self._state = await read_broker(self._broker)
        self._metrics.worker_slots.set(self._state.slots)
        self._metrics.workers.set(self._state.workers)
        if not self._state.has_marker:
            await self._recover_wiped_broker()
        self._next_look = now + BROKER_LOOK_SECONDS

    async def _recover_wiped_broker(self) -> None:
        """Whatever was sent before this moment may be gone. The marker is set last, so a crash here repeats it."""
        log.warning("broker marker missing", action="ending the leases of everything dispatched")
        await end_leases(self._pool, pace=self._pace, dispatched_before=await postgres_now(self._pool))
        await set_marker(self._broker)

    async def _claim(self) -> list[list[Claimed]]:
        limits = ClaimLimits(
            claim_fetches=self._limits.claim_fetches,
            slots=int(self._state.slots * self._limits.rounds),
            leased_fetches=self._limits.leased_fetches,
        )
        trains = await claim(
            self._pool, limits=limits, lease=self._lease, pace=self._pace, trains=self._state.knows_trains, now=None
        )
        claimed = [fetch for train in trains for fetch in train]
        for fetch in claimed:
            self._metrics.queue_wait_seconds.observe(fetch.waited_seconds)
        for train in trains:
            self._metrics.train_fetches.observe(len(train))
            self._metrics.lateness_seconds.observe(train[0].late_seconds)
        self._metrics.dispatched.inc(len(claimed))
        self._metrics.redeliveries.inc(sum(fetch.is_redelivery for fetch in claimed))
        self._metrics.last_dispatches.inc(sum(fetch.is_last for fetch in claimed))
        return trains

    async def _send(self, trains: Sequence[Sequence[PerformFetch]]) -> None:
        batches = list(_batches(trains, size=self._limits.batch_fetches))
        for number, batch in enumerate(batches):
            try:
                await self._sender.send(batch)
            except BrokerUnavailable:
                untried = [command for later in batches[number + 1 :] for command in later]
                await release(self._pool, tried=batch, untried=untried, pace=self._pace, now=None)
                self._next_look = 0.0
                raise


def _batches(trains: Sequence[Sequence[PerformFetch]], *, size: int) -> Iterator[list[PerformFetch]]:
    """Commands of about `size` fetches. A train is never cut; one that is longer travels alone."""
    batch: list[PerformFetch] = []
    for train in trains:
        if batch and len(batch) + len(train) > size:
            yield batch
            batch = []
        batch.extend(train)
    if batch:
        yield batch
