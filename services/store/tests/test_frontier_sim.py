"""The frontier simulator in small: no pace is undercut, all ends, nobody starves; and its witness notices a broken worker."""

from frontier_backlog import equal_sizes, fill, large_hosts, skewed_sizes
from frontier_figures import first_waits
from frontier_run import Simulation
from frontier_scenarios import AGEING_SECONDS, STEP_SECONDS, ageing
from frontier_world import Habits, World, at
from store.database import Pool, fetch_rows

SEED = 5
FETCHES, HOSTS, SLOTS = 2000, 200, 256
MANY_UNREACHED = Habits(with_delay=0.2, dead=0.03, refusing=0.1, refusals=0.2)
ALL_WITH_DELAY = Habits(with_delay=1, dead=0, refusing=0, response_seconds=0.02)
UNTIL_SECONDS = 3600


async def _run(pool: Pool, url: str, sizes: dict[str, int], habits: Habits, *, keeps_delays: bool = True) -> Simulation:
    await fill(url, sizes, now=at(0), priority_step_seconds=STEP_SECONDS)
    world = World(SEED, habits=habits, spared=large_hosts(sizes))
    return Simulation(pool, world, slots=SLOTS, keeps_delays=keeps_delays)


async def test_a_skewed_backlog_drains_without_a_violation_and_every_host_has_its_turn(pool: Pool, database_url: str) -> None:
    sizes = skewed_sizes(FETCHES, HOSTS)
    run = await (await _run(pool, database_url, sizes, MANY_UNREACHED)).run(until_seconds=UNTIL_SECONDS)
    assert (run.ended, run.pending) == (FETCHES, 0)
    assert (run.verdict.violations, run.violations) == (0, 0), run.verdict
    waits = first_waits(run.made)
    assert len(waits) == HOSTS
    assert max(waits) < FETCHES / HOSTS  # of simulated seconds: far less than the hot host takes for its own
    statuses = await fetch_rows(pool, "SELECT status, count(*) AS n FROM fetches GROUP BY status")
    assert {row["status"] for row in statuses} == {"succeeded", "failed"}


async def test_what_has_waited_is_not_overtaken_for_ever(pool: Pool) -> None:
    aged = await ageing(pool, seed=SEED)
    assert aged.low_started == aged.low
    assert aged.low_longest_seconds < AGEING_SECONDS
    assert aged.high_started < aged.high  # there was more of priority 9 than the host takes, all the time


async def test_the_witness_and_the_store_both_notice_a_worker_that_ignores_delays(pool: Pool, database_url: str) -> None:
    simulation = await _run(pool, database_url, equal_sizes(200, 10), ALL_WITH_DELAY, keeps_delays=False)
    run = await simulation.run(until_seconds=UNTIL_SECONDS)
    assert run.ended == 200
    assert run.verdict.gaps > 0 and run.verdict.crowds == 0
    assert run.violations == run.verdict.gaps


async def test_neither_does_where_workers_keep_them(pool: Pool, database_url: str) -> None:
    simulation = await _run(pool, database_url, equal_sizes(200, 10), ALL_WITH_DELAY)
    run = await simulation.run(until_seconds=UNTIL_SECONDS)
    assert run.ended == 200
    assert (run.verdict.violations, run.violations) == (0, 0)
    assert max(one.started for one in run.made) > 20 * 250_000  # they waited
