"""How far something long has come: a bar on stderr, or now and then a plain line where stderr is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fetchwork._terminal import PLAIN_LINE_SECONDS, animated, say

Show = Callable[[int, int, str], None]
"""Takes how much is done, of how much, and a sentence about it."""


@contextmanager
def progress() -> Iterator[Show]:
    """Show how much is done."""
    console = animated()
    if console is None:
        yield _PlainLines().show
        return
    with _bar(console) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)


class Pace:
    """Says how many are done, how fast it goes and how long it will take, from the looks so far."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def text(self, *, done: int, total: int, failed: int, now: float) -> str:
        """The sentence. `now` is in seconds and grows."""
        self._first = self._first or (now, done)
        since, before = self._first
        rate = (done - before) / (now - since) if now > since else 0.0
        parts = [f"{done:,} of {total:,} done", f"{failed:,} failed"]
        if rate > 0:
            parts += [f"{rate:,.1f}/s", f"about {_duration((total - done) / rate)} left"]
        return ", ".join(parts)


def _bar(console: Console) -> Progress:
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}", markup=False))
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class _PlainLines:
    """Says a sentence at most once in PLAIN_LINE_SECONDS, and not at once."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def show(self, done: int, total: int, text: str) -> None:
        if time.monotonic() - self._said_at >= PLAIN_LINE_SECONDS:
            self._said_at = time.monotonic()
            say(text)
