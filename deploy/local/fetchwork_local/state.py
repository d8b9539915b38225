"""What a home remembers between runs: ports, secrets, and where its supervisor listens. Kept in a file of mode 0600."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fetchwork_local.errors import StackError
from fetchwork_local.home import Home
from fetchwork_local.ports import LOOPBACK, Ports, choose_ports
from fetchwork_local.private_files import write_private

SOCKET_PATH_LIMIT_BYTES = 90
"""A Unix socket's path has at most 107 bytes on Linux, 103 elsewhere; supervisord binds `PATH.PID` first."""
TEMPORARY_PREFIX = "fetchwork-"


def _new_secret() -> str:
    return secrets.token_hex(24)


class Secrets(BaseModel):
    """Made once. The database password is inside the cluster, so losing this file loses the data."""

    model_config = ConfigDict(frozen=True)

    api_key: str = Field(default_factory=lambda: f"fw_{_new_secret()}", min_length=1)
    store_token: str = Field(default_factory=_new_secret)
    postgres_password: str = Field(default_factory=_new_secret)
    events_password: str = Field(default_factory=_new_secret)
    broker_password: str = Field(default_factory=_new_secret)


class StackState(BaseModel):
    """Ports and secrets of the stack that runs, or that ran last."""

    model_config = ConfigDict(frozen=True)

    ports: Ports
    secrets: Secrets
    control_socket: Path

    @property
    def gateway_url(self) -> str:
        """Base URL of the public API."""
        return f"http://{LOOPBACK}:{self.ports.gateway}"


def recall(home: Home) -> StackState | None:
    """The state that was saved last, if any. Raises StackError when the file is damaged."""
    try:
        return StackState.model_validate_json(home.state.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StackError(f"{home.state} cannot be read; restore it, or move {home.folder} away to start with no data.") from error


def renew(home: Home, *, gateway_port: int | None, api_key: str | None) -> StackState:
    """Decide ports and secrets for a new run and save them: as before where possible. Call with the home's lock held.

    Raises PortTaken when `gateway_port` is given and in use.
    """
    before = recall(home)
    if before is not None:
        with suppress(OSError):
            before.control_socket.unlink()
        remove_socket_folder(before.control_socket)
    kept = before.secrets if before is not None else Secrets()
    state = StackState(
        ports=choose_ports(before.ports if before is not None else None, gateway=gateway_port),
        secrets=kept.model_copy(update={"api_key": api_key}) if api_key else kept,
        control_socket=_control_socket(home),
    )
    write_private(home.state, state.model_dump_json(indent=2) + "\n")
    return state


def remove_socket_folder(control_socket: Path) -> None:
    """Remove the temporary folder made for a socket, if one was made and nothing is in it any more."""
    if control_socket.parent.name.startswith(TEMPORARY_PREFIX):
        with suppress(OSError):
            control_socket.parent.rmdir()


def _control_socket(home: Home) -> Path:
    """Below home, or in a new private temporary folder when that path would be too long for a socket."""
    path = home.run / "control.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES:
        return path
    return Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)) / "control.sock"
