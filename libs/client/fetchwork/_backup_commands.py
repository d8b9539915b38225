"""`fetchwork backup` and `fetchwork restore`: the embedded stack's data, copied while it runs and brought back."""

import time
from pathlib import Path
from typing import Annotated

import typer

from fetchwork._stack_commands import embedded_stack
from fetchwork._terminal import say, working

MEBIBYTE = 1024 * 1024

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the backup is, or will be: a new or empty folder.")]
Replace = Annotated[
    bool, typer.Option("--unsafe-replace-data", help="Destroy what $FETCHWORK_HOME holds, once the backup is known to be whole.")
]


def backup(folder: Folder) -> None:
    """Copy the running stack.

    Everything goes on meanwhile. The copy has whatever was accepted before it began; secrets are not in it.
    """
    with embedded_stack() as stack:
        from fetchwork_local.backup import take_backup

        started_at = time.monotonic()
        with working() as progress:
            taken = take_backup(stack.home, folder.absolute(), progress=progress)
        seconds = time.monotonic() - started_at
    say(f"Backed up into {taken.folder}: {taken.size_bytes / MEBIBYTE:.1f} MiB in {seconds:.1f} s.")


def restore(folder: Folder, unsafe_replace_data: Replace = False) -> None:
    """Bring a backup into $FETCHWORK_HOME.

    No stack may run there. The backup is checked and loaded before anything is destroyed. Then `fetchwork up` serves it, and
    finishes what had been accepted.
    """
    with embedded_stack() as stack:
        from fetchwork_local.restore import restore_backup

        started_at = time.monotonic()
        with working() as progress:
            restore_backup(stack.home, folder.absolute(), replace_data=unsafe_replace_data, progress=progress)
        seconds = time.monotonic() - started_at
    say(f"Restored into {stack.home.folder} in {seconds:.1f} s. Start it with `fetchwork up`.")
