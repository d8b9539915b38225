"""Embedded Valkey, a Redis-compatible server: its configuration file and the command that serves it."""

import socket
from pathlib import Path

from fetchwork_local.binaries import valkey_binary
from fetchwork_local.ports import LOOPBACK
from fetchwork_local.privileges import Command, with_parent
from fetchwork_local.private_files import write_private

STOP_SIGNAL = "TERM"
PROBE_TIMEOUT_SECONDS = 1.0

SETTINGS = {
    "bind": LOOPBACK,
    "daemonize": "no",
    "save": '""',
    "maxmemory-policy": "noeviction",
    "tcp-keepalive": "60",
}
DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "auto-aof-rewrite-percentage": "100",
    "maxmemory": "1gb",
}
"""For the events server, the log between services: what was acknowledged survives a power cut, and nothing is evicted."""
VOLATILE = {"appendonly": "no", "maxmemory": "256mb"}
"""For the broker, which may be wiped at any time without losing a fetch."""


def write_configuration(folder: Path, *, port: int, password: str, is_durable: bool) -> None:
    """Make the data folder and its configuration, readable only by its owner: it holds the password."""
    folder.mkdir(mode=0o700, exist_ok=True)
    own = {"port": str(port), "requirepass": password, "dir": f'"{_escape(folder)}"'}
    settings = {**SETTINGS, **(DURABLE if is_durable else VOLATILE), **own}
    write_private(folder / "valkey.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))


def valkey_command(folder: Path) -> Command:
    """The command that serves a folder prepared by `write_configuration`, in the foreground."""
    return with_parent([str(valkey_binary()), str(folder / "valkey.conf")])


def redis_url(*, port: int, password: str) -> str:
    """How to connect."""
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def accepts_commands(*, port: int, password: str) -> bool:
    """True when the server answers PING, which it does not while it loads its log."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=PROBE_TIMEOUT_SECONDS) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                answer += part
    except OSError:
        return False
    return answer == b"+OK\r\n+PONG\r\n"


def _escape(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
