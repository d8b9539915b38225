"""Write a run of case 36 into `docs/reliability.md`, between its marks, and its picture beside it."""

import os
import platform
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from frontier_svg import Line, Plot, draw

from harness.chaos import ALL, Chaos, Round
from harness.checker import Findings
from harness.latency import Latencies
from harness.readers import Answers

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PICTURE = "reliability.svg"
RULE_OF_THREE = 3
"""With nothing lost among N, the true share lost is below 3/N at 95 % confidence (Hanley and Lippman-Hand, JAMA 249, 1983)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its seed, what was done, what the checker found, kills by process, and what clients noticed."""

    seed: int
    chaos: Chaos
    findings: Findings
    kills: Counter[str]
    latencies: Latencies
    unanswered: int
    refused: int
    reads: Answers


def write_report(run: Run, page: Path) -> None:
    """Replace what is between the marks. Raises ValueError when the page has none."""
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{head}{BEGIN}\n{_text(run)}\n{END}{tail}", encoding="utf-8")
    page.with_name(PICTURE).write_text(_picture(run.chaos), encoding="utf-8")


def _text(run: Run) -> str:
    findings, kills = run.findings, run.kills
    table = [
        "| what | figure |",
        "| --- | --- |",
        f"| accepted (202 in a client's journal) | {findings.accepted:,} |",
        f"| lost | {_lost(findings)} (95 % bound {RULE_OF_THREE}/N = {RULE_OF_THREE / findings.accepted:.1e}) |",
        f"| results twice, changed or foreign | {_doubled(findings)} |",
        f"| SIGKILLs | {sum(kills.values())}: " + ", ".join(f"{name} {count}" for name, count in sorted(kills.items())) + " |",
        f"| ended as | {', '.join(f'{status} {count:,}' for status, count in sorted(findings.statuses.items()))} |",
        f"| given out more than once | {findings.redispatched:,} ({findings.redispatched / findings.accepted:.2%}) |",
        f"| requests at the origin for one accepted fetch | {findings.hits / findings.accepted:.4f} |",
        f"| accepted to finished | p50 {run.latencies.p50:.2f} s, p95 {run.latencies.p95:.2f} s, p99 {run.latencies.p99:.2f} s, "
        f"longest {run.latencies.longest:.1f} s |",
        f"| reads meanwhile | {_reads(run.reads)}; never 404 for what was promised, never 500 |",
        f"| submissions without an answer, refused with 503 or 429 | {run.unanswered:,}, {run.refused:,}; all tried again |",
    ]
    recovery = [
        "| killed | rounds | down, longest | back at 90 % after, p95 | longest |",
        "| --- | --: | --: | --: | --: |",
        *(_recovery_row(kind, rounds) for kind, rounds in _by_kind(run.chaos.rounds)),
    ]
    return "\n".join([_about(run), "", *table, "", *recovery])


def _about(run: Run) -> str:
    return (
        f"Run of {datetime.now(UTC):%Y-%m-%d}, seed {run.seed}: {len(run.chaos.rounds)} rounds in "
        f"{run.chaos.seconds / 60:.0f} minutes, "
        f"{run.chaos.offered_per_second:g} submissions a second, on {os.cpu_count()} cores ({platform.machine()}, Linux "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()})."
    )


def _reads(reads: Answers) -> str:
    by_status: Counter[int] = Counter()
    for (_, status), count in reads.items():
        by_status[status] += count
    words = {status: f"with {status}" if status else "without an answer" for status in by_status}
    return ", ".join(f"{count:,} {words[status]}" for status, count in sorted(by_status.items()))


def _lost(findings: Findings) -> int:
    return sum(breach.startswith("I1") for breach in findings.breaches)


def _doubled(findings: Findings) -> int:
    return sum(breach.startswith(("I2", "I3")) for breach in findings.breaches)


def _by_kind(rounds: Sequence[Round]) -> list[tuple[str, list[Round]]]:
    found: dict[str, list[Round]] = defaultdict(list)
    for one in rounds:
        found[one.kind].append(one)
    return sorted(found.items(), key=lambda item: (item[0] != ALL, item[0]))


def _recovery_row(kind: str, rounds: Sequence[Round]) -> str:
    back = sorted(one.recovery_seconds for one in rounds)
    p95 = quantiles(back, n=20, method="inclusive")[-1] if len(back) > 1 else back[0]
    down = max(one.down_seconds for one in rounds)
    return f"| {kind} | {len(rounds)} | {down:.1f} s | {p95:.1f} s | {back[-1]:.1f} s |"


def _picture(chaos: Chaos) -> str:
    known = [sample for sample in chaos.samples if sample.finished is not None]
    accepted = [(sample.at, float(sample.accepted)) for sample in chaos.samples]
    ended = [(sample.at, float(sample.finished or 0)) for sample in known]
    rate = [((one[0] + two[0]) / 2, (two[1] - one[1]) / (two[0] - one[0])) for one, two in pairwise(ended)]
    return draw(
        [
            Plot(
                title="Accepted and finished, in all",
                across="seconds",
                lines=[Line(name="accepted", points=accepted), Line(name="finished", points=ended)],
            ),
            Plot(title="Finished a second, through the kills", across="seconds", lines=[Line(name="finished/s", points=rate)]),
        ]
    )
