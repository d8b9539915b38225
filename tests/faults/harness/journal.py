"""What clients were promised: a line for each 202, on disk before the client does anything else."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One 202: the token of the URL, the id in the answer, and when it was asked for and answered (time.time)."""

    token: str
    id: str
    sent_at: float
    received_at: float


class Journal:
    """Append and fsync; read back by the checker, which believes nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, promise: Promise) -> None:
        """Returns once it is on disk."""
        os.write(self._descriptor, json.dumps(asdict(promise)).encode() + b"\n")
        os.fdatasync(self._descriptor)

    def promises(self) -> list[Promise]:
        """All of them, in order."""
        return [Promise(**json.loads(line)) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def close(self) -> None:
        """No more writing."""
        os.close(self._descriptor)
