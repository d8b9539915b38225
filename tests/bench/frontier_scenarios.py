"""The scenarios of the frontier simulator: what a claim costs, a skewed backlog, hosts with workers enough, and ageing."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted, FetchRequest
from common.ids import new_fetch_id
from frontier_backlog import equal_sizes, fill, fresh_database, hot_host, large_hosts
from frontier_figures import utilisations, waits_by_priority
from frontier_run import PACE, Run, Simulation, claim_cost
from frontier_world import SECOND, Habits, World, at
from store.database import Pool, in_transaction, open_pool
from store.fetches.accept import accept
from store.hosts.pace import PaceSettings
from store.migrate import migrate

STEP_SECONDS = 600.0
SLOTS = 2048
AMPLE_HOSTS, AMPLE_FETCHES, AMPLE_SLOTS = 40, 9600, 512
AGEING_STEP_SECONDS, AGEING_TICK = 1.0, SECOND // 10
AGEING_LOW, AGEING_HIGH_A_TICK, AGEING_SECONDS = 20, 0.8, 30
AGEING_RESPONSE_SECONDS = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Ageing:
    """How fetches of priority 0 fared while more of priority 9 came than their host takes."""

    low: int
    low_started: int
    low_longest_seconds: float
    high: int
    high_started: int


@asynccontextmanager
async def backlog(server_url: str, name: str, sizes: Mapping[str, int]) -> AsyncIterator[Pool]:
    """A database with such a backlog, due at the beginning of simulated time."""
    url = await fresh_database(server_url, name)
    await migrate(url)
    await fill(url, sizes, now=at(0), priority_step_seconds=STEP_SECONDS)
    async with open_pool(url, size=4) as pool:
        yield pool


async def costs(server_url: str, sizes: Mapping[int, Mapping[str, int]], *, claims: int) -> dict[int, list[float]]:
    """Microseconds a fetch by backlog. The backlogs take turns, so that what else the machine does meets all alike."""
    async with AsyncExitStack() as stack:
        pools = {
            count: await stack.enter_async_context(backlog(server_url, f"cost_{count}", of_host))
            for count, of_host in sizes.items()
        }
        for pool in pools.values():
            await claim_cost(pool, now=at(0))  # prepares statements, and is not counted
        taken: dict[int, list[float]] = {count: [] for count in pools}
        for _ in range(claims):
            for count, pool in pools.items():
                taken[count].append(await claim_cost(pool, now=at(0)))
    return taken


async def skewed(
    pool: Pool, sizes: Mapping[str, int], *, seed: int, drain: int | None, slots: int = SLOTS, tell: Callable[[int], None]
) -> Run:
    """Drain a skewed backlog, or so much of it, in a world where some hosts have delays, refuse, or are dead."""
    world = World(seed, habits=Habits(), spared=large_hosts(sizes) | {hot_host(len(sizes))})
    return await Simulation(pool, world, slots=slots, tell=tell).run(drain=drain)


async def ample(pool: Pool, *, seed: int, tell: Callable[[int], None]) -> tuple[Run, dict[str, tuple[int, float]]]:
    """Drain hosts with more workers than they can take, and say how near to its pace each host came."""
    world = World(seed, habits=Habits(with_delay=0.4, dead=0, refusing=0))
    run = await Simulation(pool, world, slots=AMPLE_SLOTS, tell=tell).run()
    return run, utilisations(run.made, world, max_in_flight=PACE.max_in_flight)


def ample_sizes() -> dict[str, int]:
    """The backlog of `ample`."""
    return equal_sizes(AMPLE_FETCHES, AMPLE_HOSTS)


async def ageing(pool: Pool, *, seed: int) -> Ageing:
    """A host that takes about 5 a second and gets 8 of priority 9; some of priority 0 were there first."""
    world = World(seed, habits=Habits(with_delay=0, dead=0, refusing=0, response_seconds=AGEING_RESPONSE_SECONDS, spread=0))
    simulation = Simulation(pool, world, slots=4, pace=PaceSettings(delay_ms=0, max_in_flight=1, train_seconds=0.5))
    await _accept(pool, AGEING_LOW, priority=0, now=0)
    high, wanted = 0, 0.0
    while simulation.now < AGEING_SECONDS * SECOND:
        wanted += AGEING_HIGH_A_TICK
        if (coming := int(wanted) - high) > 0:
            await _accept(pool, coming, priority=9, now=simulation.now)
            high += coming
        await simulation.tick()
        simulation.now += AGEING_TICK
    run = await simulation.run(drain=0)
    waits = waits_by_priority(run.made)
    return Ageing(
        low=AGEING_LOW,
        low_started=waits[0].count if 0 in waits else 0,
        low_longest_seconds=waits[0].longest if 0 in waits else float("inf"),
        high=high,
        high_started=waits[9].count,
    )


async def _accept(pool: Pool, fetches: int, *, priority: int, now: int) -> None:
    """Through the store's first door."""
    request = FetchRequest(url="http://aged.test/", priority=priority)
    given = [AcceptedFetch(id=new_fetch_id(), host="aged.test", accepted_at=at(now), request=request) for _ in range(fetches)]
    event = Envelope[FetchesAccepted].wrap(
        FetchesAccepted(fetches=tuple(given)),
        type=FETCH_ACCEPTED,
        source="gateway/simulated",
        subject="s",
        now=at(now),
        traceparent=None,
    )
    await in_transaction(
        pool,
        lambda connection: accept(
            connection,
            [event],
            source="store/simulated",
            coalesce_wait_seconds=30,
            priority_step_seconds=AGEING_STEP_SECONDS,
            now=at(now),
        ),
    )
