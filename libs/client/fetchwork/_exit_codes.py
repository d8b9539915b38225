"""How the command line ends. Documented, tested, and never renumbered."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the caller's script learns."""

    SUCCESS = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    SOME_FAILED = 5
    TIMED_OUT = 6
    INTERRUPTED = 130
