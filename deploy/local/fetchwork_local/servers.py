"""Only Postgres, or only Valkey, as a plain child process: for tests that need a real server and not the whole stack.

The commands are the ones that the stack runs. Call from a thread that lives as long as the server is needed: the kernel
ends the server when the thread that started it ends.
"""

import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

from fetchwork_local import postgres, valkey
from fetchwork_local.errors import NotReady
from fetchwork_local.ports import free_port
from fetchwork_local.private_files import write_private
from fetchwork_local.privileges import Command
from fetchwork_local.waiting import wait_until

START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 30


@contextmanager
def embedded_postgres(
    folder: Path, *, is_durable: bool = True, port: int | None = None, changes: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """The URL of a Postgres that serves while the context is open; its data stay in `folder` for the next time.

    `is_durable=False` turns fsync off: fast, and not safe when the machine dies. `changes` are settings of Postgres in the place
    of the stack's. Raises StackError when it does not start.
    """
    chosen, password = port or free_port(), _password(folder)
    postgres.create_cluster(folder / "postgres", password=password)
    command = postgres.postgres_command(folder / "postgres", port=chosen, is_durable=is_durable, changes=changes)
    is_up = partial(postgres.accepts_connections, chosen)
    with serving(command, log=folder / "postgres.log", is_up=is_up, stop_signal=postgres.STOP_SIGNAL):
        yield postgres.database_url(port=chosen, password=password)


@contextmanager
def embedded_redis(folder: Path, *, is_durable: bool = True, port: int | None = None) -> Iterator[str]:
    """The URL of a Valkey that serves while the context is open: set up like the events server, or like the broker.

    A durable one keeps its data in `folder` for the next time. Raises StackError when it does not start.
    """
    chosen, password = port or free_port(), _password(folder)
    valkey.write_configuration(folder / "redis", port=chosen, password=password, is_durable=is_durable)
    command = valkey.valkey_command(folder / "redis")
    is_up = partial(valkey.accepts_commands, port=chosen, password=password)
    with serving(command, log=folder / "redis.log", is_up=is_up, stop_signal=valkey.STOP_SIGNAL):
        yield valkey.redis_url(port=chosen, password=password)


def _password(folder: Path) -> str:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "password"
    if not file.exists():
        write_private(file, secrets.token_hex(16))
    return file.read_text()


@contextmanager
def serving(
    command: Command,
    *,
    log: Path,
    is_up: Callable[[], bool],
    stop_signal: str,
    timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> Iterator[None]:
    """A server that serves while the context is open, and is stopped then. Raises NotReady when it ends before it is up."""
    with log.open("ab") as output:
        # A session of its own: a Ctrl-C in the terminal must not stop the server before the test that uses it.
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: is_up() or server.poll() is not None, timeout_seconds=timeout_seconds, interval_seconds=0.01)
        if server.poll() is not None:
            raise NotReady(f"The server ended with code {server.returncode}.\n{log.read_text(errors='replace')[-2000:]}")
        yield
    finally:
        _stop(server, stop_signal)


def _stop(server: subprocess.Popen[bytes], stop_signal: str) -> None:
    server.send_signal(signal.Signals[f"SIG{stop_signal}"])
    try:
        server.wait(timeout=STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(timeout=STOP_TIMEOUT_SECONDS)
