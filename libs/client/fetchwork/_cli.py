"""The `fetchwork` command: its verbs, each told in a module of its own.

Exit codes: 0 all succeeded, 1 unexpected, 2 usage, 3 unreachable or not authorized, 4 not found, 5 some failed,
6 timed out waiting, 7 refused, 130 interrupted.
"""

from collections.abc import Callable, Mapping

import typer

from fetchwork._backup_commands import backup, restore
from fetchwork._batch_command import batch
from fetchwork._change_commands import cancel, retry
from fetchwork._events_command import events
from fetchwork._fetch_command import fetch
from fetchwork._key_commands import keys
from fetchwork._list_command import list_fetches
from fetchwork._plan_command import plan
from fetchwork._stack_commands import down, env, logs, status, up

app = typer.Typer(
    name="fetchwork",
    help="Fetching as a service. Start with `fetchwork up`, then `fetchwork fetch URL`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
COMMANDS: Mapping[str, Callable[..., None]] = {
    "up": up,
    "down": down,
    "status": status,
    "env": env,
    "logs": logs,
    "backup": backup,
    "restore": restore,
    "fetch": fetch,
    "batch": batch,
    "list": list_fetches,
    "cancel": cancel,
    "retry": retry,
    "plan": plan,
    "events": events,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(keys, name="keys")


def main() -> None:
    """Run the command line; exits with an ExitCode."""
    app()
