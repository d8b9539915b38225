"""The lines of a batch as they are sent: read from a file or from standard input, any number of times, never all in memory."""

import codecs
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

STDIN = Path("-")
LINE_LIMIT_BYTES = 1024 * 1024
PIECE_BYTES = 256 * 1024
REPORT_LINES = 500
LINE_ATTR = "line"
"""The member of a fetch's `attrs` that tells its line in the file."""


class LineTooLong(Exception):
    """A line is no line of a batch. `number` counts from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class BatchFile:
    """Lines with a URL, or with a JSON object or string, each; empty ones are kept, so that numbers stay what they are.

    Every fetch gets `labels` besides its own, and its line number in `attrs`. Iterating raises LineTooLong.
    """

    def __init__(self, file: BinaryIO, *, labels: Sequence[str]) -> None:
        self._file = file
        self._labels = list(labels)
        self.on_sent: Callable[[int, int], None] = lambda sent_bytes, sent_lines: None
        self.size_bytes = file.seek(0, 2)

    def key(self, destination: str) -> str:
        """An idempotency key: the same for the same lines and labels at the same gateway."""
        content = hashlib.sha256()
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            content.update(piece)
        named = json.dumps([destination, self._labels, content.hexdigest()])
        return f"fetchwork-batch-{hashlib.sha256(named.encode()).hexdigest()}"

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        number = sent_bytes = 0
        while line := self._file.readline(LINE_LIMIT_BYTES):
            number += 1
            sent_bytes += len(line)
            if len(line) == LINE_LIMIT_BYTES and not line.endswith(b"\n"):
                raise LineTooLong(number)
            if number % REPORT_LINES == 0:
                self.on_sent(sent_bytes, number)
            yield self._sent((line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip(), number)

    def _sent(self, line: bytes, number: int) -> bytes:
        """A line as it goes out. What cannot be read goes out as it is: the gateway says what is wrong with it."""
        if not line:
            return b""
        try:
            asked = json.loads(line) if line.startswith((b"{", b'"')) else line.decode()
        except ValueError:
            return line
        members: dict[str, Any] = {"url": asked} if isinstance(asked, str) else asked
        attrs, labels = members.get("attrs", {}), members.get("labels", [])
        if isinstance(attrs, dict):
            members["attrs"] = {LINE_ATTR: number, **attrs}
        if self._labels and isinstance(labels, list):
            members["labels"] = [*labels, *self._labels]
        return json.dumps(members).encode()


def open_file(path: Path) -> BinaryIO:
    """The file, for reading from any place; what cannot be rewound is copied to a temporary file first. Raises OSError."""
    source = sys.stdin.buffer if path == STDIN else path.open("rb")
    if source.seekable():
        return source
    copy = tempfile.TemporaryFile()
    with source:
        shutil.copyfileobj(source, copy)
    return copy
