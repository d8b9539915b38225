"""What the command line says to people: messages on stderr, and text from elsewhere made harmless."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fetchwork._exit_codes import ExitCode

PLAIN_LINE_SECONDS = 5.0


def say(message: str) -> None:
    """A line for the person at the terminal, apart from results."""
    print(message, file=sys.stderr, flush=True)


def give_up(message: str, code: ExitCode) -> NoReturn:
    """Say why, and end the command."""
    say(f"error: {message}")
    raise typer.Exit(int(code))


def harmless(text: str) -> str:
    """Text from a remote host, without characters that could steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """Show what is being done: a spinner that goes away, or plain lines where stderr is no terminal."""
    console = animated()
    if console is None:
        yield lambda message: say(f"{message} ...")
        return
    with console.status("") as status:
        yield lambda message: status.update(f"{message} ...")


@contextmanager
def counting(total: int) -> Iterator[Callable[[], None]]:
    """Show how many of `total` are done, one more at each call: a bar, or now and then a plain line without a terminal."""
    console = animated()
    if console is None:
        yield _PlainCount(total).add
        return
    columns = (TextColumn("fetched"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("fetched", total=total)
        yield lambda: bar.advance(task)


def animated() -> Console | None:
    """Where to animate, if that is wanted: not into a file, and not on a terminal that cannot."""
    console = Console(stderr=True)
    return console if console.is_terminal and not console.is_dumb_terminal else None


class _PlainCount:
    """Says how far we are, at most once in PLAIN_LINE_SECONDS."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._said_at = time.monotonic()

    def add(self) -> None:
        self._done += 1
        if time.monotonic() - self._said_at >= PLAIN_LINE_SECONDS:
            self._said_at = time.monotonic()
            say(f"{self._done} of {self._total} done")
