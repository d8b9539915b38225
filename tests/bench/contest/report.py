"""docs/performance.md between its marks, its picture, and all figures as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from frontier_svg import COLOURS, Line, Plot, draw, said

from contest.figures import FETCHWORK, Found, targets

DOCS = Path(__file__).parents[3] / "docs"
PAGE, PICTURE, FIGURES = DOCS / "performance.md", DOCS / "performance.svg", DOCS / "performance.json"
PLOTS = DOCS / "performance-growth.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BAR, WIDE, LABELS = 26, 760, 190


def write(found: Found) -> None:
    """Write all of them."""
    FIGURES.write_text(json.dumps(asdict(found), indent=1) + "\n")
    PICTURE.write_text(_bars({name: median(rates) for name, rates in found.per_second.items()}))
    PLOTS.write_text(draw(_plots(found)))
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{_text(found)}\n{END}{rest.partition(END)[2]}")


def table(found: Found) -> str:
    """What was asked and what was found, as Markdown."""
    rows = ["| what | found | at least | aim | |", "| --- | --: | --: | --: | --- |"]
    for target in targets(found):
        sign = "≤ " if target.is_limit else ""
        figures = (said(target.found), f"{sign}{target.at_least:g}", f"{sign}{target.aim:g}")
        cells = " | ".join(f"{figure}{target.unit}" for figure in figures)
        rows.append(f"| {target.what} | {cells} | {'met' if target.is_met else '**not met**'} |")
    return "\n".join(rows)


def _text(found: Found) -> str:
    rounds = len(found.per_second[FETCHWORK])
    memory = ", ".join(f"{name} {size:.0f} MB" for name, size in found.resident_megabytes.items())
    return "\n".join(
        [
            f"Measured on {found.machine}; {rounds} interleaved rounds, medians.",
            "",
            table(found),
            "",
            _rates("contestant", "fetches a second", found.per_second),
            "",
            "![Fetches a second of each contestant](performance.svg)",
            "",
            f"Single POSTs: {median(found.promises_per_second['durable']):,.0f} accepted a second over 32 connections, "
            f"p50 {1000 * found.promise_p50_seconds:.1f} ms, p99 {1000 * found.promise_p99_seconds:.1f} ms. "
            f"Idle, a fetch takes {1000 * found.idle_p50_seconds:.1f} ms from its POST until it is seen finished, beyond the "
            f"origin's own time (p95 {1000 * found.idle_p95_seconds:.1f} ms).",
            "",
            "![Fetches a second by rows stored, by length of the queue, by fetcher processes](performance-growth.svg)",
            "",
            f"Resident memory with {max(found.by_depth):,} queued (shared pages counted for each process of Postgres): {memory}.",
            "",
            "Where the time of one fetch goes, in µs of CPU:",
            "",
            _cpu(found.cpu_microseconds),
        ]
    )


def _rates(what: str, unit: str, rates: Mapping[str, Sequence[float]]) -> str:
    rows = [f"| {what} | {unit} | lowest to highest | Fetchwork is |", "| --- | --: | --: | --: |"]
    own = median(rates[FETCHWORK])
    for name, figures in rates.items():
        rows.append(
            f"| {name} | {median(figures):,.0f} | {min(figures):,.0f} to {max(figures):,.0f} | {own / median(figures):.2f}× |"
        )
    return "\n".join(rows)


def _cpu(microseconds: Mapping[str, float]) -> str:
    names = " | ".join([*microseconds, "all"])
    values = " | ".join(f"{each:.0f}" for each in [*microseconds.values(), sum(microseconds.values())])
    return f"| {names} |\n|{' --: |' * (len(microseconds) + 1)}\n| {values} |"


def _plots(found: Found) -> list[Plot]:
    return [
        Plot(title="fetches/s by rows stored", across="rows", lines=[_line(found.by_stored_rows)], is_logarithmic=True),
        Plot(title="fetches/s by length of the queue", across="queued", lines=[_line(found.by_depth)], is_logarithmic=True),
        Plot(title="fetches/s by fetcher processes", across="processes", lines=[_line(found.by_fetchers)]),
    ]


def _line(rates: Mapping[int, Sequence[float]]) -> Line:
    return Line(name=FETCHWORK, points=[(float(x), median(figures)) for x, figures in sorted(rates.items())])


def _bars(rates: Mapping[str, float]) -> str:
    """One bar for each, the longest as wide as the picture."""
    top, tall = max(rates.values()), BAR * (len(rates) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {tall}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDE}" height="{tall}" fill="white"/>',
        f'<text x="{LABELS}" y="17">fetches a second, median</text>',
    ]
    for place, (name, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1]), start=1):
        wide, colour = (WIDE - LABELS - 70) * rate / top, COLOURS[0] if name == FETCHWORK else COLOURS[-1]
        parts += [
            f'<text x="{LABELS - 8}" y="{place * BAR + 17}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABELS}" y="{place * BAR + 4}" width="{wide:.1f}" height="{BAR - 8}" fill="{colour}"/>',
            f'<text x="{LABELS + wide + 6:.1f}" y="{place * BAR + 17}">{rate:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
