"""Embedded Postgres: make a cluster with one database, and the command that serves it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fetchwork_local.binaries import postgres_binary
from fetchwork_local.errors import StackError
from fetchwork_local.ports import LOOPBACK
from fetchwork_local.privileges import Command, as_database_user, give_to_database_user

USER = "fetchwork"
DATABASE = "fetchwork"
STOP_SIGNAL = "INT"
"""Fast shutdown: do not wait for clients to leave."""
CREATE_TIMEOUT_SECONDS = 60
PROBE_TIMEOUT_SECONDS = 5

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def create_cluster(folder: Path, *, password: str) -> None:
    """Make a cluster in `folder/data` unless it is there. Raises StackError; after a failure or crash it can be called again.

    The folder belongs to whoever Postgres runs as. The cluster is made beside its place and moved there when complete.
    """
    data = folder / "data"
    if data.exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    give_to_database_user(folder)
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    _initialise(unfinished, password=password)
    quiet = ("-c", "log_min_messages=fatal")
    _run("postgres", "--single", *quiet, "-D", str(unfinished), "postgres", text=f"CREATE DATABASE {DATABASE}\n")
    unfinished.rename(data)


def postgres_command(
    folder: Path, *, port: int, is_durable: bool = True, changes: Mapping[str, str] = MappingProxyType({})
) -> Command:
    """The command that serves the cluster made by `create_cluster`, in the foreground, on the loopback address only.

    `changes` are settings in the place of ours.
    """
    settings = {**SETTINGS, **(DURABLE if is_durable else NOT_DURABLE), "port": str(port), **changes}
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return as_database_user([str(postgres_binary("postgres")), "-D", str(folder / "data"), *options], death_signal=STOP_SIGNAL)


def database_url(*, port: int, password: str) -> str:
    """How to connect to the one database."""
    return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"


def accepts_connections(port: int) -> bool:
    """True when the server answers and is not starting up or shutting down."""
    command = [str(postgres_binary("pg_isready")), "-q", "-h", LOOPBACK, "-p", str(port)]
    return subprocess.run(command, check=False, timeout=PROBE_TIMEOUT_SECONDS).returncode == 0


def _initialise(data: Path, *, password: str) -> None:
    password_file = data.with_name("password")
    password_file.unlink(missing_ok=True)
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        give_to_database_user(password_file)
        access = (f"--username={USER}", "--auth=scram-sha-256", f"--pwfile={password_file}")
        _run("initdb", "-D", str(data), *access, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
    finally:
        password_file.unlink()


def _run(program: str, *arguments: str, text: str = "") -> None:
    """Run one program of Postgres to its end, in a session of its own, so that a Ctrl-C for us does not tear it apart."""
    command = as_database_user([str(postgres_binary(program)), *arguments], death_signal="KILL")
    done = subprocess.run(
        command,
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
        timeout=CREATE_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise StackError(f"Postgres could not be set up: {program} ended with code {done.returncode}.\n{done.stdout.strip()}")
