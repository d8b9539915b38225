"""How a server or service is started: as whom, and bound to die when its parent does.

Postgres refuses to run as root. As root we run it as an unnamed user instead: no account is created and no permission
of a parent folder is changed. One capability lets that user reach its data below a folder such as /root; which one
is permitted depends on where we run (Docker withholds the first).
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fetchwork_local.errors import StackError

DATABASE_USER_ID = 65534
"""Conventionally `nobody`; needs no entry in /etc/passwd."""
REACH_CAPABILITIES = ("dac_read_search", "dac_override")
PROBE_TIMEOUT_SECONDS = 10

Command = tuple[str, ...]


def with_parent(command: Sequence[str], *, death_signal: str = "TERM") -> Command:
    """The command, sent `death_signal` when its parent dies, where the `setpriv` tool can arrange that."""
    setpriv = _setpriv()
    return (setpriv, "--pdeathsig", death_signal, "--", *command) if setpriv else tuple(command)


def as_database_user(command: Sequence[str], *, death_signal: str) -> Command:
    """The command for a program that refuses root: as another user when we are root, else as ourselves. Raises StackError."""
    if os.geteuid() != 0:
        return with_parent(command, death_signal=death_signal)
    return (*_drop_root(command[0]), "--pdeathsig", death_signal, "--", *command)


def give_to_database_user(path: Path) -> None:
    """Make the user of `as_database_user` the owner of a file or folder."""
    if os.geteuid() == 0:
        os.chown(path, DATABASE_USER_ID, DATABASE_USER_ID)


@lru_cache
def _setpriv() -> str | None:
    path = shutil.which("setpriv")
    return path if path and _succeeds((path, "--pdeathsig", "TERM", "--", path, "--version")) else None


@lru_cache
def _drop_root(program: str) -> Command:
    setpriv = _setpriv()
    if setpriv is None:
        raise StackError("Postgres does not run as root and there is no setpriv (util-linux) to drop it; start as another user.")
    identity = (f"--reuid={DATABASE_USER_ID}", f"--regid={DATABASE_USER_ID}", "--clear-groups")
    for capability in REACH_CAPABILITIES:
        keep = (f"--inh-caps=-all,+{capability}", f"--ambient-caps=-all,+{capability}")
        flags = ("--securebits=+no_setuid_fixup", *identity, *keep)
        if _succeeds((setpriv, *flags, "--", program, "--version")):
            return (setpriv, *flags)
    raise StackError("Postgres does not run as root and this container forbids to drop it; start as another user.")


def _succeeds(command: Command) -> bool:
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=PROBE_TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
