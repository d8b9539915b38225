"""Read the programs' log files: the last lines, and what is added, across rotation."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from fetchwork_local.waiting import never

POLL_SECONDS = 0.2


def tail(path: Path, *, lines: int) -> list[str]:
    """The last lines of a log; empty when there is none yet."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []


def follow(paths: list[Path], *, interrupted: Callable[[], bool] = never) -> Iterator[tuple[Path, str]]:
    """Lines added from now on to any of the logs, until interrupted. A file that was rotated is read from its start."""
    readers = {path: _Reader(path) for path in paths}
    while not interrupted():
        for path, reader in readers.items():
            for line in reader.new_lines():
                yield path, line
        time.sleep(POLL_SECONDS)  # between two looks; nothing tells us


class _Reader:
    """Where we are in one log file, and which file that was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._offset = self._identity()
        self._rest = ""

    def new_lines(self) -> list[str]:
        inode, size = self._identity()
        if inode != self._inode or size < self._offset:
            self._inode, self._offset, self._rest = inode, 0, ""
        if size == self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            added = file.read(size - self._offset)
        self._offset = size
        *whole, self._rest = (self._rest + added.decode("utf-8", "replace")).split("\n")
        return whole

    def _identity(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size
