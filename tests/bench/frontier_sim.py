"""Simulate the frontier: the store's own claim and record over up to a million fetches, simulated workers, hosts and clock.

`make bench-frontier` runs it and writes docs/frontier/. It shows what a claim costs as the backlog grows, that hosts have
their turns, and that no pace is undercut, counted apart from the store's own count.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fetchwork_local.servers import embedded_postgres
from frontier_backlog import equal_sizes, skewed_sizes
from frontier_report import Figures, markdown, plans, plots, write
from frontier_run import PACE, Run
from frontier_scenarios import SLOTS, ageing, ample, ample_sizes, backlog, costs, skewed
from rich.console import Console

CLAIMS = 36
FETCHES_A_HOST = 10
DRAIN_SMALL = 10_000
"""Backlogs up to this are drained to the end."""
DRAIN_DEFAULT = 60_000
DRAIN_A_HOST = 1.3
"""So many for each host, so that each has its turn."""
TELL_EVERY = 10_000

console = Console(stderr=True)


def _hosts(fetches: int, hosts_limit: int) -> int:
    return max(1, min(hosts_limit, fetches // FETCHES_A_HOST))


def _drain(fetches: int, hosts: int, asked: int | None) -> int | None:
    """How many fetches are to end; None for all."""
    if asked is not None:
        return asked
    return None if fetches <= DRAIN_SMALL else max(DRAIN_DEFAULT, round(hosts * DRAIN_A_HOST))


def _teller(name: str) -> Callable[[int], None]:
    told = [0]

    def tell(ended: int) -> None:
        if ended >= told[0] + TELL_EVERY:
            told[0] = ended
            console.print(f"{name}: {ended:,} ended")

    return tell


async def _costs(server_url: str, backlogs: Sequence[int], claims: int) -> dict[str, dict[int, tuple[int, Sequence[float]]]]:
    """By shape and backlog: the hosts, and what each claim cost."""
    found: dict[str, dict[int, tuple[int, Sequence[float]]]] = {}
    for name, a_host in ((f"{FETCHES_A_HOST} a host", FETCHES_A_HOST), ("one a host", 1)):
        console.print(f"claim cost, {name}")
        sizes = {fetches: equal_sizes(fetches, fetches // a_host) for fetches in backlogs}
        taken = await costs(server_url, sizes, claims=claims)
        found[name] = {fetches: (len(sizes[fetches]), taken[fetches]) for fetches in backlogs}
    return found


async def _measure(server_url: str, arguments: argparse.Namespace) -> tuple[Figures, str]:
    runs: dict[int, tuple[int, Run]] = {}
    plan_text, largest = "", max(arguments.backlogs)
    cost = await _costs(server_url, arguments.backlogs, arguments.claims)
    for fetches in arguments.backlogs:
        hosts = _hosts(fetches, arguments.hosts)
        sizes: Mapping[str, int] = skewed_sizes(fetches, hosts)
        async with backlog(server_url, "skewed", sizes) as pool:
            plan_text = await plans(pool) if fetches == largest else plan_text
            drain, tell = _drain(fetches, hosts, arguments.drain), _teller(f"{fetches:,}")
            runs[fetches] = (hosts, await skewed(pool, sizes, seed=arguments.seed, drain=drain, tell=tell))
    async with backlog(server_url, "ample", ample_sizes()) as pool:
        ample_run, utilisation = await ample(pool, seed=arguments.seed, tell=_teller("workers enough"))
    async with backlog(server_url, "ageing", {}) as pool:
        aged = await ageing(pool, seed=arguments.seed)
    return Figures(costs=cost, runs=runs, utilisation=utilisation, ample=ample_run, ageing=aged), plan_text


def _command(arguments: argparse.Namespace) -> str:
    backlogs = " ".join(map(str, arguments.backlogs))
    drain = f" --drain {arguments.drain}" if arguments.drain is not None else ""
    return f"tests/bench/frontier_sim.py --backlogs {backlogs} --hosts {arguments.hosts} --seed {arguments.seed}{drain}"


def main() -> None:
    """Measure on a Postgres of its own and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlogs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="fetches that are queued")
    parser.add_argument("--hosts", type=int, default=100_000, help="hosts at most; a tenth of the backlog where that is less")
    parser.add_argument("--drain", type=int, default=None, help="fetches to end; all of 10,000, and each host's turn, if absent")
    parser.add_argument("--claims", type=int, default=CLAIMS, help="claims that tell the cost")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs/frontier"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fetchwork-frontier-") as folder:
        with embedded_postgres(Path(folder) / "postgres", is_durable=False) as server_url:
            figures, plan_text = asyncio.run(_measure(server_url, arguments))
    page = markdown(figures, command=_command(arguments), slots=SLOTS, lanes=PACE.max_in_flight)
    write(arguments.output, page=page, drawing=plots(figures), plan_text=plan_text)
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
