"""Two small plots as one SVG, written by hand: lines over a logarithmic or linear axis, with a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN, GAP = 460, 320, 55, 30
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5aa8", "#b8860b", "#555555")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points of one line, and its name in the legend."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Some lines with axes from 0, the horizontal one logarithmic if wanted."""

    title: str
    across: str
    lines: Sequence[Line]
    is_logarithmic: bool = False


def draw(plots: Sequence[Plot]) -> str:
    """The plots side by side."""
    total = len(plots) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {HEIGHT + 30}" font-family="sans-serif" font-size="11">',
        f'<rect width="{total}" height="{HEIGHT + 30}" fill="white"/>',
    ]
    for place, plot in enumerate(plots):
        parts += [f'<g transform="translate({place * (WIDTH + GAP)} 0)">', *_plot(plot), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _plot(plot: Plot) -> list[str]:
    points = [point for line in plot.lines for point in line.points]
    low, high = (min(x for x, _ in points), max(x for x, _ in points)) if plot.is_logarithmic else (0, max(x for x, _ in points))
    top = max(y for _, y in points) * 1.05 or 1
    inner, tall = WIDTH - MARGIN - 15, HEIGHT - 2 * MARGIN

    def across(x: float) -> float:
        share = math.log(x / low) / (math.log(high / low) or 1) if plot.is_logarithmic else x / (high or 1)
        return MARGIN + share * inner

    def up(y: float) -> float:
        return HEIGHT - MARGIN - y / top * tall

    marks = sorted({x for x, _ in points}) if plot.is_logarithmic else [high * part / 4 for part in range(5)]
    parts = [f'<text x="{MARGIN}" y="25" font-size="13">{escape(plot.title)}</text>']
    parts += [f'<text x="{MARGIN + inner / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(plot.across)}</text>']
    for part in range(5):
        y = top * part / 4
        parts.append(f'<line x1="{MARGIN}" x2="{MARGIN + inner}" y1="{up(y):.1f}" y2="{up(y):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 5}" y="{up(y) + 4:.1f}" text-anchor="end">{said(y)}</text>')
    for x in marks:
        parts.append(f'<text x="{across(x):.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{said(x)}</text>')
    for number, line in enumerate(plot.lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        key = HEIGHT - MARGIN - 12 - 14 * (len(plot.lines) - 1 - number)
        parts.append(f'<text x="{MARGIN + inner - 5}" y="{key}" text-anchor="end" fill="{colour}">{escape(line.name)}</text>')
    return parts


def said(figure: float) -> str:
    """Three figures, or all that stand before the point."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
