"""Become a program: read its command and environment from a file that only its owner may read, then exec it.

So a program has exactly the environment meant for it, no secret shows in a process list, and its process id is the one
that the supervisor started. Run as a script with nothing but the standard library, since it runs at every restart.
"""

import fcntl
import json
import os
import resource
import sys

DATA_IN_USE_EXIT_CODE = 75
OPEN_FILES = 8192


def main() -> None:
    """Never returns; exits with a code when the data folder is in use by a program of an earlier run."""
    with open(sys.argv[1], encoding="utf-8") as file:
        program = json.load(file)
    if program["data_lock"]:
        _hold(program["data_lock"])
    _allow_many_files()
    os.execve(program["command"][0], program["command"], program["environment"])  # noqa: S606


def _hold(path: str) -> None:
    """Hold the lock for as long as the program lives: the descriptor is inherited, the kernel lets go at its end."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"waiting: {path} is held by a program of an earlier run that has not ended yet\n")
        sys.exit(DATA_IN_USE_EXIT_CODE)


def _allow_many_files() -> None:
    """Raise the limit of open files, as far as we are allowed to: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
