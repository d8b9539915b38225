"""What the frontier simulator writes: docs/frontier/frontier.md, its plots, and the plans of the claim's statements."""

import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from frontier_backlog import hot_host
from frontier_figures import Waits, first_waits, waits_by_priority
from frontier_run import CLAIM_FETCHES, LEASE, Run
from frontier_scenarios import STEP_SECONDS, Ageing
from frontier_svg import Line, Plot, draw
from frontier_world import at
from store.database import Pool
from store.dispatch.claim import SUSPECTS_LOCK_KEY
from store.queries import query

CURVE_POINTS = 100

HEAD = """# The frontier under load

Written by `make bench-frontier`; the tables are figures of one machine: {machine}, PostgreSQL 18
without fsync, load average {load} at the end. `tests/bench/frontier_sim.py` runs the store's own `claim` and `record` on a
simulated clock, with simulated workers and hosts. Command:

    {command}

Fetches lie in the tables in no order of hosts. Backlogs are skewed: one hot host has a tenth, the others follow Zipf's law. Of
the hosts a tenth ask for a `Crawl-delay` of 0.25 to 2 s; of those with few fetches a fiftieth say 429 with `Retry-After` now
and then, and a hundredth cannot be reached. {slots:,} slots; {lanes} attempts at once
on a host without a delay.

![Claim cost by backlog, and the wait for the first attempt](frontier.svg)
"""
COSTS = """
## What a claim costs

Microseconds of wall time a fetch, full claims of {claims} fetches; the backlogs take turns, so that what else the machine does
meets all alike.

| backlog | hosts | median | best |
| ---: | ---: | ---: | ---: |
"""
WAITS = """
## Fairness and pacing

Simulated seconds until the first attempt on a host, of the hosts that had one. Violations are counted by the simulator from
its own log of starts and ends (gaps shorter than the pace, more than {lanes} at once, given out during a pause), and by
`record`. Both are as promised: *unknowing* attempts were given out before their host's `Crawl-delay` was recorded; those *in
transit* began in a pause, but were out when it came, the last of them so long after (simulated workers do not tell each other
of pauses, as real ones do).

| backlog | hosts | hosts tried | wait median | p99 | max | max, not hot | violations | by `record` | unknowing | in transit |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
RATES = """
The same runs: fetches that ended and snoozed attempts, simulated time, the share of it that slots were busy, and microseconds
of wall time a fetch in `claim` and `record`, in sets that were nearly full.

| backlog | ended | snoozed | seconds | slots busy | claim median | claim best | record median |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
PRIORITIES = """
## Priority

Seconds until the first attempt by priority, and of how many fetches; all were due at the same moment, and a level is worth
{step:.0f} s of waiting. In what was not drained to its end (*pending*), of those that had an attempt.

| backlog | pending | 9: mean | of | 5: mean | of | 0: mean | of | 0: longest |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
AGEING = """
Nobody starves: with a level worth 1 s, {low} fetches of priority 0, then 8 a second of priority 9 on a host that takes about 5,
{started} of the {low} were tried, the last after {longest:.1f} s, and of priority 9 {high_started} of {high} in 30 s.
"""
UTILISATION = """
## How near hosts come to their pace

{hosts} hosts with a backlog, and workers enough for all: the rate of attempts as a share of what delay and response time allow.
{violations} violations, {recorded} by `record`.

| Crawl-delay ms | hosts | median | lowest |
| ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that was measured."""

    costs: Mapping[str, Mapping[int, tuple[int, Sequence[float]]]]
    runs: Mapping[int, tuple[int, Run]]
    utilisation: Mapping[str, tuple[int, float]]
    ample: Run
    ageing: Ageing


def markdown(figures: Figures, *, command: str, slots: int, lanes: int) -> str:
    """The page."""
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {platform.python_version()}"
    load = f"{psutil.getloadavg()[0]:.1f}"
    parts = [HEAD.format(machine=machine, load=load, command=command, slots=slots, lanes=lanes)]
    parts += [COSTS.format(claims=CLAIM_FETCHES), *_costs(figures.costs)]
    parts += [WAITS.format(lanes=lanes), *(_waits_row(backlog, hosts, run) for backlog, (hosts, run) in figures.runs.items())]
    parts += [RATES, *(_rates_row(backlog, run) for backlog, (_, run) in figures.runs.items())]
    parts += [PRIORITIES.format(step=STEP_SECONDS), *(_priority_row(backlog, run) for backlog, (_, run) in figures.runs.items())]
    return "".join([*parts, _ageing(figures.ageing), *_utilisation(figures)])


def plots(figures: Figures) -> str:
    """The SVG."""
    lines = []
    for name, by_backlog in figures.costs.items():
        taken = {backlog: costs for backlog, (_, costs) in by_backlog.items()}
        lines.append(Line(name=f"{name}, median", points=[(n, statistics.median(costs)) for n, costs in taken.items()]))
        lines.append(Line(name=f"{name}, best", points=[(n, min(costs)) for n, costs in taken.items()]))
    curves = [
        Line(name=f"{backlog:,} on {hosts:,} hosts", points=_curve(first_waits(run.made)))
        for backlog, (hosts, run) in figures.runs.items()
    ]
    return draw(
        [
            Plot(title="Claim, µs a fetch", across="backlog", lines=lines, is_logarithmic=True),
            Plot(title="Share of hosts tried", across="simulated seconds until the first attempt", lines=curves),
        ]
    )


async def plans(pool: Pool) -> str:
    """EXPLAIN (ANALYZE, BUFFERS) of the two statements of a claim that read the backlog, as the claim calls them; taken back."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            opened = (CLAIM_FETCHES, 10**6, at(0), 10**6, SUSPECTS_LOCK_KEY)
            hosts = [row["host"] for row in await connection.fetch(query("hosts_open"), *opened)]
            count = len(hosts)
            shares = (hosts, [1] * count, [1] * count, [0] * count, CLAIM_FETCHES, [0.0] * count)
            claimed = (*shares, LEASE.abandon_after_dispatches, LEASE.margin_seconds, at(0), True)
            asked: dict[str, tuple[Any, ...]] = {"hosts_open": opened, "queue_claim": claimed}
            texts = []
            for name, arguments in asked.items():
                rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {query(name)}", *arguments)
                texts.append("\n".join([f"-- {name}", *(row[0] for row in rows), ""]))
        finally:
            await transaction.rollback()
    return "\n".join(texts)


def write(folder: Path, *, page: str, drawing: str, plan_text: str) -> None:
    """All three files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "frontier.md").write_text(page, encoding="utf-8")
    (folder / "frontier.svg").write_text(drawing, encoding="utf-8")
    (folder / "plans.txt").write_text(plan_text, encoding="utf-8")


def _costs(costs: Mapping[str, Mapping[int, tuple[int, Sequence[float]]]]) -> Iterator[str]:
    for by_backlog in costs.values():
        for backlog, (hosts, taken) in by_backlog.items():
            yield f"| {backlog:,} | {hosts:,} | {statistics.median(taken):.0f} | {min(taken):.0f} |\n"
    for name, by_backlog in costs.items():
        small, large = min(by_backlog), max(by_backlog)
        (_, first), (_, last) = by_backlog[small], by_backlog[large]
        median, best = statistics.median(last) / statistics.median(first), min(last) / min(first)
        yield f"\n{name}: from {small:,} to {large:,} the median grows {median:.2f} times and the best {best:.2f} times.\n"


def _waits_row(backlog: int, hosts: int, run: Run) -> str:
    waits = Waits.of(first_waits(run.made))
    others = Waits.of(first_waits(run.made, without={hot_host(hosts)}))
    verdict = run.verdict
    in_transit = f"{verdict.in_transit} ({verdict.in_transit_latest_seconds:.2f} s)" if verdict.in_transit else "0"
    return (
        f"| {backlog:,} | {hosts:,} | {waits.count:,} | {waits.median:.2f} | {waits.p99:.2f} | {waits.longest:.2f} "
        f"| {others.longest:.2f} | {verdict.violations} | {run.violations} | {verdict.unknowing} | {in_transit} |\n"
    )


def _rates_row(backlog: int, run: Run) -> str:
    claim = f"{statistics.median(run.claim_costs):.0f} | {min(run.claim_costs):.0f}" if run.claim_costs else "– | –"
    record = f"{statistics.median(run.record_costs):.0f}" if run.record_costs else "–"
    return f"| {backlog:,} | {run.ended:,} | {run.snoozed:,} | {run.seconds:.1f} | {run.busy_share:.0%} | {claim} | {record} |\n"


def _priority_row(backlog: int, run: Run) -> str:
    waits = waits_by_priority(run.made)
    means = " | ".join(f"{waits[level].mean:.2f} | {waits[level].count:,}" for level in (9, 5, 0))
    return f"| {backlog:,} | {run.pending:,} | {means} | {waits[0].longest:.2f} |\n"


def _utilisation(figures: Figures) -> Iterator[str]:
    violations, hosts = figures.ample.verdict.violations, len(figures.utilisation)
    yield UTILISATION.format(hosts=hosts, violations=violations, recorded=figures.ample.violations)
    by_delay: dict[int, list[float]] = {}
    for delay, share in figures.utilisation.values():
        by_delay.setdefault(delay, []).append(share)
    for delay, shares in sorted(by_delay.items()):
        yield f"| {delay} | {len(shares)} | {statistics.median(shares):.1%} | {min(shares):.1%} |\n"


def _ageing(ageing: Ageing) -> str:
    return AGEING.format(
        low=ageing.low,
        started=ageing.low_started,
        longest=ageing.low_longest_seconds,
        high=ageing.high,
        high_started=ageing.high_started,
    )


def _curve(waits: Sequence[float]) -> list[tuple[float, float]]:
    ordered = sorted(waits)
    places = sorted({round(part * (len(ordered) - 1) / CURVE_POINTS) for part in range(CURVE_POINTS + 1)})
    return [(0.0, 0.0), *((ordered[place], (place + 1) / len(ordered)) for place in places)]
