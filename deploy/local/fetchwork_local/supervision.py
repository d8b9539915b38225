"""Run programs under supervisord: write its configuration, start it in a session of its own, and talk to it.

supervisord is the one process that outlives a command: it restarts what ends, bounds the logs, and stops in order.
"""

import http.client
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any
from xmlrpc.client import Error as XmlRpcError  # nosec B411
from xmlrpc.client import ServerProxy, Transport  # nosec B411

import psutil

from fetchwork_local import launch
from fetchwork_local.environments import SERVER_ENVIRONMENT
from fetchwork_local.home import Home
from fetchwork_local.private_files import write_private
from fetchwork_local.programs import Program

ANSWER_TIMEOUT_SECONDS = 5.0
DESCRIPTORS = 128
LOG_BYTES = 10_000_000
LOG_BACKUPS = 3


def write_configuration(home: Home, programs: Sequence[Program], *, control_socket: Path) -> None:
    """Write what supervisord and the launcher read. Paths are relative to home, supervisord's working folder."""
    for program in programs:
        write_private(home.programs / f"{program.name}.json", json.dumps(_launch_file(program), indent=2))
    parser = RawConfigParser(interpolation=None)
    parser.read_dict(
        {
            "supervisord": _own_section(),
            "unix_http_server": {"file": control_socket, "chmod": "0600"},
            "rpcinterface:supervisor": {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
            **{f"program:{program.name}": _section(program, priority) for priority, program in enumerate(programs, start=1)},
        }
    )
    text = StringIO()
    parser.write(text)
    write_private(configuration_file(home), text.getvalue().replace("%", "%%"))


def configuration_file(home: Home) -> Path:
    """Names the supervisord of this home on its command line, too."""
    return home.run / "supervisord.conf"


def start(home: Home, *, lock: int) -> "subprocess.Popen[bytes]":
    """Start supervisord. It inherits the descriptor `lock` and so holds the home's lock until it ends."""
    write_private(home.logs / "supervisord.start.log", "")
    with (home.logs / "supervisord.start.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "supervisor.supervisord", "--nodaemon", "-c", str(configuration_file(home))],
            cwd=home.folder,
            env=SERVER_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
            pass_fds=(lock,),
        )


def process_ids(control_socket: Path) -> dict[str, int | None]:
    """The process of every program by name, None while it is not running; none when no supervisord answers, or while it stops."""
    try:
        with _control(control_socket) as control:
            answer: Any = control.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, XmlRpcError):
        return {}
    return {info["name"]: info["pid"] or None for info in answer}


def terminate(home: Home) -> bool:
    """Ask the supervisord of this home to stop everything and end; False when there is none for sure.

    A process id in a file may have passed to a stranger; the configuration on its command line says whose it is.
    """
    with suppress(OSError, ValueError, psutil.Error):
        supervisord = psutil.Process(int((home.run / "supervisord.pid").read_text()))
        if str(configuration_file(home)) in supervisord.cmdline():
            supervisord.terminate()
            return True
    return False


def _launch_file(program: Program) -> Mapping[str, object]:
    return {
        "command": program.command,
        "environment": program.environment,
        "data_lock": str(program.data_lock) if program.data_lock else None,
    }


def _own_section() -> Mapping[str, object]:
    return {
        "logfile": "logs/supervisord.log",
        "logfile_maxbytes": LOG_BYTES,
        "logfile_backups": LOG_BACKUPS,
        "pidfile": "run/supervisord.pid",
        "childlogdir": "logs",
        "nocleanup": "true",
        "silent": "true",
        # Between fork and exec supervisord closes this many descriptors, and a signal that arrives meanwhile is lost. Ours are
        # few; the launcher gives the programs more.
        "minfds": DESCRIPTORS,
        "minprocs": 1,
        # Without this line supervisord warns that it stays root.
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }


def _section(program: Program, priority: int) -> Mapping[str, object]:
    launcher = [sys.executable, "-I", "-S", launch.__file__, f"programs/{program.name}.json"]
    return {
        "command": shlex.join(launcher),
        "priority": priority,
        "autorestart": "true",
        # 0 means that no start counts as failed: supervisord would wait a second longer after each, and in the end give
        # up. So a program that cannot start yet is started again about once a second, for as long as it takes.
        "startsecs": 0,
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_seconds,
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": f"logs/{program.name}.log",
        "stdout_logfile_maxbytes": LOG_BYTES,
        "stdout_logfile_backups": LOG_BACKUPS,
    }


def _control(path: Path) -> ServerProxy:
    return ServerProxy("http://localhost", transport=_UnixTransport(path))


class _UnixTransport(Transport):
    """XML-RPC over a Unix socket, with a time limit, which supervisor's own transport does not have.

    What it parses comes from our own supervisord, on a socket that only we may open; hence the `nosec` above.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path)
        self._connection = host, connection  # where the base class looks for what to close
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))
