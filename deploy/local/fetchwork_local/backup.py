"""A consistent copy of a running stack: the events server first, Postgres second, while everything goes on.

The order is the promise. What was accepted before the first copy is in it, or had been acknowledged, and so is in Postgres,
which is copied later. What is in both is applied twice, and that changes nothing: both doors of the ledger are idempotent.
"""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fetchwork_local import postgres
from fetchwork_local.backup_manifest import DATABASE, EVENTS, write_manifest
from fetchwork_local.binaries import postgres_binary
from fetchwork_local.errors import StackError
from fetchwork_local.events_copy import copy_events, events_version
from fetchwork_local.home import Home
from fetchwork_local.ports import LOOPBACK
from fetchwork_local.state import StackState, recall

DUMP_TIMEOUT_SECONDS = 6 * 3600
VERSION_TIMEOUT_SECONDS = 10

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """Where a backup is, and how large it is."""

    folder: Path
    size_bytes: int


def take_backup(home: Home, folder: Path, *, progress: Progress = lambda _: None) -> Backup:
    """Copy the running stack of a home into a new or empty folder.

    The folder holds no secret, but everything that was fetched: it is made readable by its owner alone. Raises StackError.
    """
    state = recall(home)
    if state is None or not home.is_locked():
        raise StackError(f"No stack runs on {home.folder}; a backup is taken of a running one.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StackError(f"{folder} is not empty; name a new folder.")
        folder.chmod(0o700)
        facts = _copy(state, folder, progress)
        progress("Writing the manifest")
        manifest = write_manifest(folder, facts)
    except OSError as error:
        raise StackError(f"The backup cannot be written into {folder}: {error}.") from error
    return Backup(folder=folder, size_bytes=sum(file["bytes"] for file in manifest["files"].values()))


def _copy(state: StackState, folder: Path, progress: Progress) -> dict[str, str]:
    port, password = state.ports.events, state.secrets.events_password
    facts = {"events_from": _now(), "events": events_version(port=port, password=password), "postgres": _postgres_version()}
    progress("Copying the events server")
    copy_events(folder / EVENTS, port=port, password=password)
    facts["database_from"] = _now()
    progress("Copying Postgres")
    _dump(folder / DATABASE, state)
    return facts


def _dump(path: Path, state: StackState) -> None:
    """The whole database in Postgres's own format. Contents are compressed already: more than a little would only cost time."""
    command = [str(postgres_binary("pg_dump")), "--format=custom", "--compress=1", "--no-password", "--host", LOOPBACK]
    command += ["--port", str(state.ports.postgres), "--username", postgres.USER, postgres.DATABASE]
    environment = {"PGPASSWORD": state.secrets.postgres_password, "LC_ALL": "C", "PATH": os.defpath}
    with path.open("xb") as file:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, env=environment, timeout=DUMP_TIMEOUT_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise StackError(f"Postgres could not be copied: pg_dump ended with code {done.returncode}.\n{reason}")


def _postgres_version() -> str:
    command = [str(postgres_binary("postgres")), "--version"]
    return subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_SECONDS, check=True).stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat()
