"""Make the data of a home from a backup. The next `fetchwork up` serves them, and finishes what had been accepted.

Everything is built beside the home's data, with servers that start and load it, and takes their place only when it is whole.
"""

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from fetchwork_local import postgres, valkey
from fetchwork_local.backup import Progress
from fetchwork_local.backup_manifest import DATABASE, EVENTS, BackupDamaged, check_backup
from fetchwork_local.binaries import postgres_binary
from fetchwork_local.errors import StackError
from fetchwork_local.events_copy import write_events_folder
from fetchwork_local.home import Home
from fetchwork_local.ports import LOOPBACK, free_port
from fetchwork_local.servers import serving
from fetchwork_local.state import StackState, renew

RESTORE_TIMEOUT_SECONDS = 24 * 3600
LOAD_TIMEOUT_SECONDS = 600
JOBS = "2"


def restore_backup(home: Home, folder: Path, *, replace_data: bool = False, progress: Progress = lambda _: None) -> None:
    """Bring a backup into a home on which no stack runs.

    Raises StackError, and then leaves the home's data as they were: for a damaged backup, for a home that holds data unless
    `replace_data` allows to destroy them, and AlreadyRunning.
    """
    progress("Checking the backup")
    try:
        check_backup(folder)
    except BackupDamaged as error:
        raise StackError(str(error)) from error
    home.create()
    lock = home.lock()
    try:
        if any(home.data.iterdir()) and not replace_data:
            raise StackError(f"{home.folder} holds data, which would be destroyed; set FETCHWORK_HOME to another folder.")
        state = renew(home, gateway_port=None, api_key=None)
        built = home.folder / "restoring"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir(mode=0o700)
        _build(built, folder, state, progress)
        os.sync()
        replaced = home.folder / "replaced"  # kept until the other is in its place: a crash between the two loses neither
        shutil.rmtree(replaced, ignore_errors=True)
        home.data.rename(replaced)
        built.rename(home.data)
        os.sync()
        shutil.rmtree(replaced)
    except OSError as error:
        raise StackError(f"The backup cannot be brought into {home.folder}: {error}.") from error
    finally:
        os.close(lock)


def _build(built: Path, folder: Path, state: StackState, progress: Progress) -> None:
    progress("Loading the events")
    events, password = built / "events", state.secrets.events_password
    port = free_port()
    valkey.write_configuration(events, port=port, password=password, is_durable=True)
    write_events_folder(events, folder / EVENTS)
    loaded = partial(valkey.accepts_commands, port=port, password=password)
    log = built.with_name("restoring.log")
    with serving(
        valkey.valkey_command(events), log=log, is_up=loaded, stop_signal=valkey.STOP_SIGNAL, timeout_seconds=LOAD_TIMEOUT_SECONDS
    ):
        progress("Restoring Postgres")
    _restore_database(built / "postgres", folder / DATABASE, password=state.secrets.postgres_password, log=log)
    log.unlink()


def _restore_database(folder: Path, dump: Path, *, password: str, log: Path) -> None:
    postgres.create_cluster(folder, password=password)
    port = free_port()
    is_up = partial(postgres.accepts_connections, port)
    with serving(postgres.postgres_command(folder, port=port), log=log, is_up=is_up, stop_signal=postgres.STOP_SIGNAL):
        command = [str(postgres_binary("pg_restore")), "--exit-on-error", "--no-owner", "--no-privileges", "--jobs", JOBS]
        command += ["--no-password", "--host", LOOPBACK, "--port", str(port), "--username", postgres.USER]
        command += ["--dbname", postgres.DATABASE, str(dump)]
        environment = {"PGPASSWORD": password, "LC_ALL": "C", "PATH": os.defpath}
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=RESTORE_TIMEOUT_SECONDS, check=False
        )
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip()
            raise StackError(f"Postgres could not be restored: pg_restore ended with code {done.returncode}.\n{reason}")
        _analyse(port, password=password)


def _analyse(port: int, *, password: str) -> None:
    """A dump is made without statistics."""
    command = [str(postgres_binary("vacuumdb")), "--analyze-only", "--quiet", "--no-password", "--host", LOOPBACK]
    command += ["--port", str(port), "--username", postgres.USER, postgres.DATABASE]
    environment = {"PGPASSWORD": password, "LC_ALL": "C", "PATH": os.defpath}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=RESTORE_TIMEOUT_SECONDS, check=False
    )
    if done.returncode != 0:
        raise StackError(f"Postgres could not be analysed: {done.stderr.decode(errors='replace').strip()}")
