"""The folder that holds everything of one stack, and the lock that says whether a stack runs on it."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from fetchwork_local.errors import AlreadyRunning, StackError
from fetchwork_local.waiting import wait_until

DEFAULT_FOLDER = ".fetchwork"
LOCK_TIMEOUT_SECONDS = 1.0
"""Longer than a glance of `is_locked` by another command."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where things are. The folder is private to its owner."""

    folder: Path

    @property
    def state(self) -> Path:
        """Ports and secrets, remembered."""
        return self.folder / "stack.json"

    @property
    def logs(self) -> Path:
        """One log file a program."""
        return self.folder / "logs"

    @property
    def programs(self) -> Path:
        """One file a program with its command and environment."""
        return self.folder / "programs"

    @property
    def run(self) -> Path:
        """What belongs to the running supervisor."""
        return self.folder / "run"

    @property
    def data(self) -> Path:
        """One folder a server."""
        return self.folder / "data"

    def create(self) -> None:
        """Make the folders. Idempotent. Raises StackError, also for a folder that holds something else."""
        elsewhere = "set FETCHWORK_HOME to another folder"
        try:
            if self.folder.exists() and any(self.folder.iterdir()) and not self.run.is_dir():
                raise StackError(f"{self.folder} is not empty and not a Fetchwork home; {elsewhere}.")
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            for part in (self.run, self.logs, self.programs, self.data):
                part.mkdir(mode=0o700, exist_ok=True)
            (self.folder / ".gitignore").write_text("*\n")
        except OSError as error:
            raise StackError(f"{self.folder} cannot be used: {error.strerror}; {elsewhere}.") from error

    def lock(self) -> int:
        """A descriptor that holds the lock until every copy of it is closed. Raises AlreadyRunning."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            wait_until(lambda: _try_lock(descriptor, fcntl.LOCK_EX), timeout_seconds=LOCK_TIMEOUT_SECONDS)
        except TimeoutError as error:
            os.close(descriptor)
            raise AlreadyRunning(f"A stack runs on {self.folder} already; end it with `fetchwork down`.") from error
        return descriptor

    def is_locked(self) -> bool:
        """True while a stack starts, runs or stops here."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @property
    def _lock_file(self) -> Path:
        return self.run / "lock"


def home_from(folder: str | None) -> Home:
    """The home that FETCHWORK_HOME names, or the default in the current folder."""
    return Home(Path(folder or DEFAULT_FOLDER).absolute())


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
