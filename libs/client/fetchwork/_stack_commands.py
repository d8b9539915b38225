"""`fetchwork up`, `down`, `status`, `env` and `logs`: the embedded stack, where the package for it is installed."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from fetchwork._exit_codes import ExitCode
from fetchwork._signals import CountedSignals
from fetchwork._stack_summary import print_status, ready_text
from fetchwork._terminal import give_up, harmless, say, working

if TYPE_CHECKING:
    from fetchwork_local.stack import Stack

GLANCE_SECONDS = 0.2

Detach = Annotated[bool, typer.Option("--detach", help="Return when the stack is ready, and leave it running.")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of the gateway; 8080 when that is free.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Name = Annotated[str | None, typer.Argument(metavar="SERVICE", help="Only this one; the default is all.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")]
Lines = Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each log to begin with.")]


def up(detach: Detach = False, port: Port = None) -> None:
    """Start everything here and wait until it serves.

    Ctrl-C stops everything. Data live in $FETCHWORK_HOME, by default .fetchwork in the current folder. Should this command
    be killed without a chance to stop anything, the stack goes on, and `fetchwork down` stops it.

    Exit codes: 0 it served, 1 it did not become ready and nothing is left running, 130 interrupted before it was ready.
    """
    with embedded_stack(port) as stack, CountedSignals() as signals:
        from fetchwork_local.errors import AlreadyRunning, Interrupted

        started_at = time.monotonic()
        try:
            with working() as progress:
                status = stack.start(progress=progress, interrupted=lambda: signals.count > 0)
        except AlreadyRunning:
            _join_running(stack, is_detached=detach, port=port)
            return
        except Interrupted:
            give_up("interrupted before it was ready; nothing is left running.", ExitCode.INTERRUPTED)
        print(ready_text(status, seconds=time.monotonic() - started_at, is_detached=detach), flush=True)
        if not detach:
            _serve(stack, signals)


def down() -> None:
    """Stop everything, services first.

    Works on the stack of $FETCHWORK_HOME, and is fine when none runs.
    """
    with embedded_stack() as stack:
        if not stack.is_running():
            say(f"No stack runs on {stack.home.folder}.")
            return
        with working() as progress:
            progress("Stopping")
            stack.stop()
        say("Stopped.")


def status(as_json: AsJson = False) -> None:
    """Show what runs and where. Exit codes: 0 ready, 1 not ready or not running."""
    with embedded_stack() as stack:
        found = stack.status()
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_status(found)
    raise typer.Exit(int(ExitCode.SUCCESS if found.ready else ExitCode.UNEXPECTED))


def env() -> None:
    """Print the address and the key for a shell.

    Use it as: eval "$(fetchwork env)"
    """
    with embedded_stack() as stack:
        found = stack.status()
        if found.gateway is None or found.api_key is None or found.demo is None:
            give_up(f"no stack runs on {found.home}; start one with `fetchwork up`.", ExitCode.UNREACHABLE)
    variables = {"FETCHWORK_URL": found.gateway, "FETCHWORK_API_KEY": found.api_key, "FETCHWORK_DEMO": found.demo}
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def logs(name: Name = None, follow: Follow = False, lines: Lines = 50) -> None:
    """Show the last lines of the logs."""
    with embedded_stack() as stack:
        from fetchwork_local import logs as files

        paths = sorted(stack.home.logs.glob("*.log"))
        chosen = [path for path in paths if name in (None, path.stem)]
        if not chosen:
            known = ", ".join(path.stem for path in paths) or "none yet"
            give_up(f"there is no log of {name or 'anything'} in {stack.home.logs}; there are: {known}.", ExitCode.NOT_FOUND)
        for path in chosen:
            for line in files.tail(path, lines=lines):
                print(_log_line(line, source=None if name else path.stem))
        if follow:
            with CountedSignals() as signals:
                for path, line in files.follow(chosen, interrupted=lambda: signals.count > 0):
                    print(_log_line(line, source=None if name else path.stem), flush=True)
            raise typer.Exit(int(ExitCode.INTERRUPTED))


@contextmanager
def embedded_stack(port: int | None = None) -> Iterator["Stack"]:
    """The stack of $FETCHWORK_HOME. Ends the command when the package is missing, or with the reason of a StackError."""
    try:
        from fetchwork_local.errors import StackError
        from fetchwork_local.stack import Stack
    except ModuleNotFoundError as error:
        reason = f"this needs the embedded stack, and {error.name} is not installed"
        give_up(f"{reason}; run `make setup` in a checkout.", ExitCode.UNEXPECTED)
    try:
        yield Stack(port=port)
    except StackError as error:
        give_up(str(error), ExitCode.UNEXPECTED)


def _join_running(stack: "Stack", *, is_detached: bool, port: int | None) -> None:
    """Another `up` was first. Detached, that is as good as ours once it is ready; in the foreground we have nothing to hold."""
    from fetchwork_local.stack import READY_TIMEOUT_SECONDS
    from fetchwork_local.waiting import wait_until

    refusal = f"a stack runs on {stack.home.folder} already, at {{}}; end it with `fetchwork down`."
    if not is_detached:
        give_up(refusal.format(stack.status().gateway), ExitCode.UNEXPECTED)
    try:
        wait_until(lambda: stack.status().ready or not stack.is_running(), timeout_seconds=READY_TIMEOUT_SECONDS)
    except TimeoutError as error:
        give_up(f"a stack runs on {stack.home.folder} already, and is not ready {error}.", ExitCode.UNEXPECTED)
    found = stack.status()
    if found.gateway is None or (port and not found.gateway.endswith(f":{port}")):
        give_up(refusal.format(found.gateway), ExitCode.UNEXPECTED)
    print(f"Fetchwork runs already: {found.gateway}")


def _serve(stack: "Stack", signals: CountedSignals) -> None:
    """Hold the foreground until a signal, then stop everything; a second signal ends the services' patience."""
    while not signals.count:
        if (code := stack.supervisord_exit_code()) is not None:
            if code:
                give_up(f"supervisord ended with code {code}; see `fetchwork logs supervisord`.", ExitCode.UNEXPECTED)
            say("Stopped by another command.")
            return
        time.sleep(GLANCE_SECONDS)  # between two looks; nothing tells us
    say("Stopping; services finish what they are doing. Ctrl-C again to kill them: their work is taken up at the next start.")
    stack.stop(hurry=lambda: signals.count > 1)
    say("Stopped.")


def _log_line(line: str, *, source: str | None) -> str:
    return harmless(f"{source:<12} {line}" if source else line)
