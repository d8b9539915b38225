"""The parts of the benchmark. Each has its own stacks; those of one part that do not have the turn stand still."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from fetchwork_local.stack import Stack

from contest.depth import Kept
from contest.figures import BARE, CELERY, DEEP, FETCHWORK, FEW, MANY, SCRAPY, SHALLOW
from contest.idle import Latency, idle_latency
from contest.pages import Pages
from contest.promises import Promising, running_gateways
from contest.rivals import POOLS, awake, go_on, running_rivals, stand_still
from contest.stack_run import Run, resident_megabytes, run_batch, running_stack
from contest.stored import fill
from contest.workers import more_fetchers

Step = Callable[[str], None]
"""Told what is about to be done, for who waits."""

CONTEST_BATCH, BATCH = 20_000, 8_000
BARE_BATCH, CELERY_BATCH, SCRAPY_BATCH = 10_000, 1_000, 2_000
WARM_UP = 2_000
POSTS = 3_200
DEPTH_SECONDS = 6.0
DEPTH_ROUNDS, FETCHER_ROUNDS = 3, 3
FETCHERS = (1, 2, 3, 4)
CONTEST_FETCHERS = 2
"""One for each core of the machine that the targets are of. Each pool of Celery has processes or threads of its own, too."""
WAKING = 500
"""Fetches behind each pause of a stack that stood still: what is measured is one that runs."""
BETWEEN = 100_000


def contest(folder: Path, pages: Pages, *, rounds: int, step: Step) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Fetches a second of each contestant by round, and the CPU microseconds of each of our processes for one fetch."""
    runs: list[Run] = []
    origin_seconds = 0.0
    with (
        running_rivals(folder / "rivals") as rivals,
        running_stack(folder / "contest") as stack,
        more_fetchers(stack, CONTEST_FETCHERS - 1) as fetchers,
        _turns(stack, fetchers=fetchers) as turn,
    ):

        def fetchwork() -> float:
            nonlocal origin_seconds
            with turn(stack):
                run_batch(stack, pages.urls(WAKING))
                used = pages.cpu_seconds()
                runs.append(run_batch(stack, pages.urls(CONTEST_BATCH), fetchers=fetchers))
                origin_seconds += pages.cpu_seconds() - used
            return runs[-1].per_second

        contestants: dict[str, Callable[[], float]] = {
            FETCHWORK: fetchwork,
            BARE: lambda: rivals.run_bare(pages.urls(BARE_BATCH)),
            SCRAPY: lambda: rivals.run_scrapy(pages.urls(SCRAPY_BATCH)),
        }
        for pool in POOLS:
            contestants[CELERY.format(pool)] = partial(_celery, rivals.run_celery, pool, pages)
        for name, run in contestants.items():
            step(f"warming up: {name}")
            run()
        runs.clear()
        origin_seconds = 0.0
        rates = interleaved(contestants, rounds=rounds, step=step)
    fetches = sum(run.fetches for run in runs)
    seconds = {name: sum(run.cpu_seconds[name] for run in runs) for name in runs[0].cpu_seconds} | {"origin": origin_seconds}
    return rates, {name: 1e6 * each / fetches for name, each in seconds.items()}


def promises(folder: Path, *, rounds: int, step: Step) -> dict[str, list[Promising]]:
    """Single POSTs with and without durability."""
    found: dict[str, list[Promising]] = {}
    with running_stack(folder / "promises") as stack, running_gateways(folder / "gateways", stack) as gateways:

        def promise(name: str) -> float:
            found.setdefault(name, []).append(gateways[name].promise(POSTS))
            return found[name][-1].per_second

        for name in gateways:
            step(f"warming up: {name} gateway")
            gateways[name].promise(POSTS // 4)
        interleaved({name: partial(promise, name) for name in gateways}, rounds=rounds, step=step)
    return found


def idle(folder: Path, pages: Pages, *, step: Step) -> Latency:
    """One fetch after another on a stack that has nothing else to do."""
    with running_stack(folder / "idle") as stack:
        run_batch(stack, pages.urls(WARM_UP))
        step("idle latency")
        return idle_latency(stack, pages)


def by_stored_rows(folder: Path, pages: Pages, *, rounds: int, step: Step) -> dict[int, list[float]]:
    """Fetches a second by how many finished ones the ledger already has."""
    with ExitStack() as closing:
        stacks = {}
        for rows in (FEW, BETWEEN, MANY):
            stack = closing.enter_context(running_stack(folder / f"stored-{rows}"))
            run_batch(stack, pages.urls(WARM_UP))
            step(f"storing {rows:,} rows")
            fill(stack, rows - WARM_UP)
            run_batch(stack, pages.urls(WARM_UP))
            stacks[rows] = stack
        turn = closing.enter_context(_turns(*stacks.values()))

        def run(stack: Stack) -> float:
            with turn(stack):
                run_batch(stack, pages.urls(WAKING))
                return run_batch(stack, pages.urls(BATCH // 2)).per_second

        found = interleaved({str(rows): partial(run, stack) for rows, stack in stacks.items()}, rounds=rounds, step=step)
    return {int(rows): rates for rows, rates in found.items()}


def by_depth(folder: Path, pages: Pages, *, step: Step) -> tuple[dict[int, list[float]], dict[str, float]]:
    """Fetches a second by the length of the queue, and the memory of each process when it is the longer one."""
    with ExitStack() as closing:
        stacks = {depth: closing.enter_context(running_stack(folder / f"depth-{depth}")) for depth in (SHALLOW, DEEP)}
        kept = {depth: Kept(stack, pages, depth=depth) for depth, stack in stacks.items()}
        turn = closing.enter_context(_turns(*stacks.values()))

        def run(depth: int) -> float:
            with turn(stacks[depth]):
                kept[depth].fill()
                return kept[depth].per_second(DEPTH_SECONDS)

        for depth in kept:
            step(f"queueing {depth:,} fetches")
            run(depth)
        found = interleaved({str(depth): partial(run, depth) for depth in kept}, rounds=DEPTH_ROUNDS, step=step)
        with turn(stacks[DEEP]):
            resident = resident_megabytes(stacks[DEEP].status())
    return {int(depth): rates for depth, rates in found.items()}, resident


def by_fetchers(folder: Path, pages: Pages, *, step: Step) -> dict[int, list[float]]:
    """Fetches a second by the number of fetcher processes."""
    found: dict[int, list[float]] = {}
    with running_stack(folder / "fetchers") as stack:
        for many in FETCHERS:
            with more_fetchers(stack, many - 1):
                run_batch(stack, pages.urls(WARM_UP))
                for number in range(FETCHER_ROUNDS):
                    step(f"{many} fetcher processes, {number + 1} of {FETCHER_ROUNDS}")
                    found.setdefault(many, []).append(run_batch(stack, pages.urls(BATCH)).per_second)
    return found


def interleaved(contestants: Mapping[str, Callable[[], float]], *, rounds: int, step: Step) -> dict[str, list[float]]:
    """Each contestant's figure in each round; their order is another one each time."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    drawn, order = random.Random(1), list(contestants)
    for number in range(rounds):
        drawn.shuffle(order)
        for name in order:
            middle = f", so far {median(found[name]):,.0f}/s" if found[name] else ""
            step(f"round {number + 1} of {rounds}: {name}{middle}")
            found[name].append(contestants[name]())
    return found


@contextmanager
def _turns(*stacks: Stack, fetchers: Sequence[int] = ()) -> Iterator[Callable[[Stack], AbstractContextManager[None]]]:
    """Stacks that stand still but for the one that has its turn, and `fetchers` beside it."""
    pids = {id(stack): _supervisor(stack) for stack in stacks}
    everyone = (*pids.values(), *fetchers)
    for pid in everyone:
        stand_still(pid)
    try:
        yield lambda stack: awake(pids[id(stack)], *fetchers)
    finally:
        for pid in everyone:
            go_on(pid)


def _celery(run: Callable[[str, Sequence[str]], float], pool: str, pages: Pages) -> float:
    return run(pool, pages.urls(CELERY_BATCH))


def _supervisor(stack: Stack) -> int:
    """The parent of all processes of a stack."""
    pid = stack.status().processes["gateway"]
    assert pid is not None
    return psutil.Process(pid).ppid()
