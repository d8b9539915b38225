"""The frontier simulator's clock: the store's own claim and record over a real Postgres, simulated workers, no waiting."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from frontier_witness import Verdict, Witness
from frontier_world import SECOND, Made, Workers, World, at
from store.database import Pool, fetch_rows, in_transaction
from store.dispatch.claim import ClaimLimits, Lease, claim, next_look_seconds, release
from store.fetches.record import Attempt, Recorded, record
from store.hosts.pace import PaceSettings

TICK = SECOND // 50
"""How often the simulated store records and claims while there is something to do."""
CLAIM_FETCHES = 256
RECORD_ATTEMPTS = 100
ROUNDS = 2
CLAIMS_IN_A_TICK = 8
LEASE = Lease(margin_seconds=120, abandon_after_dispatches=5)
PACE = PaceSettings(delay_ms=0, max_in_flight=4)
COUNT_PENDING = "SELECT count(*) AS pending FROM fetch_queue"
FULL_ENOUGH = 0.75
"""Sets of this share of their limit and more tell the cost of a fetch; in smaller ones the fixed cost shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run came to. Costs are microseconds of wall time a fetch, `seconds` are simulated."""

    seconds: float
    ended: int
    pending: int
    claim_costs: list[float]
    record_costs: list[float]
    violations: int
    snoozed: int
    verdict: Verdict
    made: list[Made]
    busy_share: float


@dataclass(slots=True, kw_only=True)
class _Counts:
    """What is summed up along the way."""

    ended: int = 0
    violations: int = 0
    snoozed: int = 0
    claim_costs: list[float] = field(default_factory=list)
    record_costs: list[float] = field(default_factory=list)

    def add(self, recorded: Recorded) -> None:
        """One set of attempts was recorded."""
        self.ended += sum(recorded.finished.statuses.values())
        self.violations += recorded.violations
        self.snoozed += recorded.snoozed


class Simulation:
    """One backlog, drained. `tell` is called now and then with how many fetches have ended."""

    def __init__(
        self,
        pool: Pool,
        world: World,
        *,
        slots: int,
        pace: PaceSettings = PACE,
        keeps_delays: bool = True,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._workers = Workers(world, slots=slots, keeps_delays=keeps_delays)
        self._witness = Witness(max_in_flight=pace.max_in_flight)
        self._pace = pace
        self._slots = slots
        self._counts = _Counts()
        self._tell = tell
        self.now = 0

    async def run(self, *, drain: int | None = None, until_seconds: float = 10**6) -> Run:
        """Go on until so many fetches have ended, nothing is queued any more, or simulated time is up."""
        while (drain is None or self._counts.ended < drain) and self.now < until_seconds * SECOND:
            await self.tick()
            following = await self._next_tick()
            if following is None:
                break
            self.now = following
        counts, workers = self._counts, self._workers
        return Run(
            seconds=self.now / SECOND,
            ended=counts.ended,
            pending=(await fetch_rows(self._pool, COUNT_PENDING))[0]["pending"],
            claim_costs=counts.claim_costs,
            record_costs=counts.record_costs,
            violations=counts.violations,
            snoozed=counts.snoozed,
            verdict=self._witness.judge(workers.made),
            made=workers.made,
            busy_share=sum(min(one.ended, self.now) - one.started for one in workers.made if one.started < self.now)
            / max(1, self._slots * self.now),
        )

    async def tick(self) -> None:
        """Record what has arrived, then claim until little comes."""
        arrived = self._workers.reports(self.now)
        for first in range(0, len(arrived), RECORD_ATTEMPTS):
            await self._record([Attempt(attempted=one) for one in arrived[first : first + RECORD_ATTEMPTS]])
        for _ in range(CLAIMS_IN_A_TICK):
            if await self._claim() < CLAIM_FETCHES * FULL_ENOUGH:
                break
        self._tell(self._counts.ended)

    async def _record(self, attempts: list[Attempt]) -> None:
        started = time.perf_counter()
        recorded = await in_transaction(
            self._pool,
            lambda connection: record(
                connection, attempts, source="store/simulated", pace=self._pace, now=at(self.now), jitter=lambda: 0.5
            ),
        )
        if len(attempts) >= RECORD_ATTEMPTS * FULL_ENOUGH:
            self._counts.record_costs.append((time.perf_counter() - started) * 1e6 / len(attempts))
        self._counts.add(recorded)
        for attempt in attempts:
            self._witness.recorded(attempt.attempted, self.now)

    async def _claim(self) -> int:
        limits = ClaimLimits(claim_fetches=CLAIM_FETCHES, slots=self._slots * ROUNDS, leased_fetches=self._slots * 4)
        started = time.perf_counter()
        trains = await claim(self._pool, limits=limits, lease=LEASE, pace=self._pace, now=at(self.now))
        took = time.perf_counter() - started
        claimed = sum(map(len, trains))
        if claimed >= CLAIM_FETCHES * FULL_ENOUGH:
            self._counts.claim_costs.append(took * 1e6 / claimed)
        for train in trains:
            self._workers.take(train, self.now)
        return claimed

    async def _next_tick(self) -> int | None:
        """The next tick, or later when nothing happens before; None when nothing will."""
        report, tick = self._workers.next_report(), self.now + TICK
        if report is not None and report <= tick:
            return tick
        look_seconds = await next_look_seconds(self._pool, now=at(self.now))
        moments = [] if report is None else [report]
        if look_seconds is not None and (look_seconds > 0 or report is None):  # else it is open, and no slot is free
            moments.append(self.now + int(look_seconds * SECOND) + 1)
        return max(tick, min(moments)) if moments else None


async def claim_cost(pool: Pool, *, now: datetime) -> float:
    """Microseconds a fetch of one full claim, as if there were workers without end; then what was claimed is taken back."""
    limits = ClaimLimits(claim_fetches=CLAIM_FETCHES, slots=10**6, leased_fetches=10**6)
    started = time.perf_counter()
    trains = await claim(pool, limits=limits, lease=LEASE, pace=PACE, now=now)
    took = time.perf_counter() - started
    claimed = [fetch.command for train in trains for fetch in train]
    assert len(claimed) == CLAIM_FETCHES, "hosts with work were not open"
    await release(pool, tried=(), untried=claimed, pace=PACE, now=now)
    return took * 1e6 / CLAIM_FETCHES
