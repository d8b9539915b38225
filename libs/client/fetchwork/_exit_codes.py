"""How the command line ends. Documented, tested, and never renumbered."""

from enum import IntEnum

from fetchwork._errors import (
    BatchWaitTimeout,
    FetchworkError,
    GatewayUnreachable,
    NotAuthorized,
    NotFound,
    ProblemError,
    WaitTimeout,
)


class ExitCode(IntEnum):
    """What the caller's script learns."""

    SUCCESS = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREACHABLE = 3
    """The gateway does not answer, or does not let this key in."""
    NOT_FOUND = 4
    SOME_FAILED = 5
    """Of several fetches, lines or URLs at least one failed or was refused."""
    TIMED_OUT = 6
    """We stopped waiting; what was accepted goes on."""
    REFUSED = 7
    """The gateway understood, and refused: a quota, a conflict, a member that is not valid."""
    INTERRUPTED = 130


def code_of(error: FetchworkError) -> ExitCode:
    """The code of a command that ends because of this error."""
    if isinstance(error, GatewayUnreachable | NotAuthorized):
        return ExitCode.UNREACHABLE
    if isinstance(error, WaitTimeout | BatchWaitTimeout):
        return ExitCode.TIMED_OUT
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    return ExitCode.REFUSED if isinstance(error, ProblemError) else ExitCode.UNEXPECTED
