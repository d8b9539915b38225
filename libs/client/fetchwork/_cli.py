"""The `fetchwork` command: its verbs, each told in a module of its own.

Exit codes: 0 all succeeded, 1 unexpected, 2 usage, 3 unreachable or not authorized, 4 not found, 5 some failed,
6 timed out waiting, 130 interrupted.
"""

import typer

from fetchwork._fetch_command import fetch
from fetchwork._stack_commands import down, env, logs, status, up

app = typer.Typer(
    name="fetchwork",
    help="Fetching as a service. Start with `fetchwork up`, then `fetchwork fetch URL`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
for command in (up, down, status, env, logs, fetch):
    app.command()(command)


def main() -> None:
    """Run the command line; exits with an ExitCode."""
    app()
