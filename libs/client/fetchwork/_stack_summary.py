"""What the stack commands print: where everything is, and what to try next."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fetchwork_local.stack import StackStatus

READY = """\
Fetchwork is ready ({seconds:.1f} s).

  Gateway   {gateway}
  API key   {api_key}
  Demo      {demo}
  Metrics   {metrics}
  Data      {home}

Try next:

  curl -sS {gateway}/v1/fetches -H 'Authorization: Bearer {api_key}' \\
    -H 'Content-Type: application/json' -d '{{"url": "{demo}"}}'
  {command} fetch {demo}
  open {gateway}/ in a browser and sign in with the API key: traffic, queue, hosts, failures

This is for development, not for production: everything runs on this machine, the key is kept in the data folder.
{ending}"""


def ready_text(status: "StackStatus", *, seconds: float, is_detached: bool) -> str:
    """All that someone needs to begin."""
    command = _command()
    return READY.format(
        seconds=seconds,
        gateway=status.gateway,
        api_key=status.api_key,
        demo=status.demo,
        metrics="\n            ".join(f"{name:<8} {url}" for name, url in status.metrics.items()),
        home=status.home,
        command=command,
        ending=f"Stop it with: {command} down" if is_detached else "Ctrl-C stops everything.",
    )


def print_status(status: "StackStatus") -> None:
    """A small table on stdout."""
    if status.gateway is None:
        print(f"No stack runs on {status.home}.")
        return
    print(f"{'ready' if status.ready else 'not ready'}: {status.gateway}, data in {status.home}")
    table = Table("process", "pid", "metrics")
    for name, pid in status.processes.items():
        table.add_row(name, str(pid or "down"), status.metrics.get(name, ""))
    Console().print(table)


def _command() -> str:
    """How this command was called, so that it can be called again from the same folder."""
    name = sys.argv[0]
    called = Path(name).name if shutil.which(Path(name).name) == name else os.path.relpath(name)
    home = os.environ.get("FETCHWORK_HOME")
    return " ".join([*([f"FETCHWORK_HOME={shlex.quote(home)}"] if home else []), shlex.quote(called)])
