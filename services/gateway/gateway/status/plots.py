"""Small bar plots as numbers that a template turns into SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.status.traffic import Minute

STEP = 10
"""Width of a minute in the plot's own units; a bar is somewhat narrower."""
BAR = 7
HEIGHT = 100
LEAST_HEIGHT = 2.0
"""Of a bar that stands for something, so that one failure among thousands is still seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One part of a column; `kind` is what it counts."""

    x: int
    y: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Columns of stacked bars on a scale from 0 to `top`."""

    name: str
    kinds: tuple[str, ...]
    top: int
    width: int
    bars: list[Bar]


def draw(name: str, minutes: Sequence[Minute | None], kinds: tuple[str, ...]) -> Plot:
    """A column a minute, the first kind at the bottom."""
    columns = [[0 if minute is None else getattr(minute, kind) for kind in kinds] for minute in minutes]
    top = _round_up(max((sum(column) for column in columns), default=0))
    bars = [bar for number, column in enumerate(columns) for bar in _stack(number * STEP, column, kinds, top)]
    return Plot(name=name, kinds=kinds, top=top, width=len(minutes) * STEP, bars=bars)


def _stack(x: int, column: Sequence[int], kinds: Sequence[str], top: int) -> list[Bar]:
    bars: list[Bar] = []
    y = float(HEIGHT)
    for kind, count in zip(kinds, column, strict=True):
        if count:
            height = min(max(count / top * HEIGHT, LEAST_HEIGHT), y)
            y -= height
            bars.append(Bar(x=x, y=round(y, 2), height=round(height, 2), kind=kind))
    return bars


def _round_up(count: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100 …, whose half is a whole number too."""
    scale = 1
    while True:
        for step in (2, 4, 10):
            if count <= step * scale:
                return step * scale
        scale *= 10
