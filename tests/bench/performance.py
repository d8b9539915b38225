"""Fetchwork beside what people would use instead, and how it bears growth: `make bench`.

Everything runs on this machine in one go: the contestants take turns over the same origin in rounds, in an order drawn anew each
time, and only ratios of one run are held against the targets. Writes docs/performance.md, its pictures and docs/performance.json;
ends with 1 when a target is missed. `--rounds N`; `--only PART` runs one part, prints what it found and writes nothing.
"""

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

import psutil
from contest import report, sections
from contest.figures import Found, targets
from contest.pages import Pages, running_origin
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ROUNDS = 5
PARTS = ("contest", "promises", "idle", "stored", "depth", "fetchers")
STEPS_OF_CONTEST, STEPS_OF_REST = 6, 40


def _machine() -> str:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((fact.partition(":")[2].strip() for fact in facts if fact.startswith("model name")), platform.machine())
    memory = psutil.virtual_memory().total >> 30
    return f"{psutil.cpu_count()} cores ({cpu}), {memory} GiB, Python {platform.python_version()}"


def _measure(folder: Path, pages: Pages, *, rounds: int, step: sections.Step) -> Found:
    per_second, cpu_microseconds = sections.contest(folder, pages, rounds=rounds, step=step)
    promises = sections.promises(folder, rounds=rounds, step=step)
    latency = sections.idle(folder, pages, step=step)
    by_depth, resident = sections.by_depth(folder, pages, step=step)
    return Found(
        machine=_machine(),
        per_second=per_second,
        cpu_microseconds=cpu_microseconds,
        promises_per_second={name: [each.per_second for each in every] for name, every in promises.items()},
        promise_p50_seconds=median(each.p50_seconds for each in promises["durable"]),
        promise_p99_seconds=median(each.p99_seconds for each in promises["durable"]),
        idle_p50_seconds=latency.p50_seconds,
        idle_p95_seconds=latency.p95_seconds,
        by_stored_rows=sections.by_stored_rows(folder, pages, rounds=rounds, step=step),
        by_depth=by_depth,
        by_fetchers=sections.by_fetchers(folder, pages, step=step),
        resident_megabytes=resident,
    )


def _only(part: str, folder: Path, pages: Pages, *, rounds: int, step: sections.Step) -> object:
    match part:
        case "contest":
            return sections.contest(folder, pages, rounds=rounds, step=step)
        case "promises":
            return sections.promises(folder, rounds=rounds, step=step)
        case "idle":
            return sections.idle(folder, pages, step=step)
        case "stored":
            return sections.by_stored_rows(folder, pages, rounds=rounds, step=step)
        case "depth":
            return sections.by_depth(folder, pages, step=step)
        case _:
            return sections.by_fetchers(folder, pages, step=step)


def main() -> int:
    """Measure, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    columns = (TimeElapsedColumn(), BarColumn(), TextColumn("{task.description}"))
    with (
        tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as folder,
        running_origin() as pages,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("starting", total=options.rounds * (STEPS_OF_CONTEST + 5) + STEPS_OF_REST)

        def step(what: str) -> None:
            progress.update(task, description=what, advance=1)

        if options.only:
            found_part = _only(options.only, Path(folder), pages, rounds=options.rounds, step=step)
            print(json.dumps(found_part, indent=1, default=asdict))
            return 0
        found = _measure(Path(folder), pages, rounds=options.rounds, step=step)
    report.write(found)
    print(report.table(found))
    missed = [target.what for target in targets(found) if not target.is_met]
    if missed:
        print(f"\nerror: {len(missed)} of the targets missed: {'; '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
