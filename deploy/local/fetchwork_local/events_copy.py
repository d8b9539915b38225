"""A copy of the events server at one moment, taken while it serves, and a data folder made of such a copy.

The server hands it out as to a replica (`SYNC`), which costs it what a rewrite of its log costs. Of a copy (RDB) beside
`appendonly yes` Redis 7 and later, and Valkey, take no notice; so it becomes the base of an append-only log, which is what a
rewrite makes too.
"""

import shutil
import socket
from io import BufferedReader
from pathlib import Path

from fetchwork_local.errors import StackError
from fetchwork_local.ports import LOOPBACK

LOG_FOLDER = "appendonlydir"
BASE_NAME = "appendonly.aof.1.base.rdb"
MANIFEST_NAME = "appendonly.aof.manifest"
MAGIC = (b"REDIS", b"VALKEY")
MARK_BYTES = 40
CHUNK_BYTES = 1024 * 1024
SILENCE_SECONDS = 60.0
"""While it prepares the copy the server sends a newline now and then; it begins 5 s late, in case more replicas come."""
LINE_LIMIT_BYTES = 1024
INFO_LIMIT_BYTES = 65536


def copy_events(path: Path, *, port: int, password: str) -> None:
    """Write what the server holds now into a new file. Raises StackError when it cannot, or breaks off."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=SILENCE_SECONDS) as connection, path.open("xb") as file:
            with connection.makefile("rb") as stream:
                for command in (f"AUTH {password}", "REPLCONF capa eof", "REPLCONF rdb-only 1"):
                    _ask(connection, stream, command)
                connection.sendall(b"SYNC\r\n")
                mark = _read_until_mark(stream)
                tail = b""
                while not tail.endswith(mark):
                    chunk = stream.read1(CHUNK_BYTES)
                    if not chunk:
                        raise StackError("The events server broke off while it handed out a copy; see `fetchwork logs events`.")
                    file.write(chunk)
                    tail = (tail + chunk)[-MARK_BYTES:]
            file.truncate(file.tell() - MARK_BYTES)
    except OSError as error:
        raise StackError(f"The events server could not be copied: {error}.") from error
    with path.open("rb") as file:
        if not file.read(len(max(MAGIC, key=len))).startswith(MAGIC):
            raise StackError("The events server handed out something that is no copy.")


def write_events_folder(folder: Path, copy: Path) -> None:
    """Make a copy the log that a server with `appendonly yes` begins with; `folder` is its data folder, without a log."""
    log = folder / LOG_FOLDER
    log.mkdir(mode=0o700)
    shutil.copyfile(copy, log / BASE_NAME)
    (log / MANIFEST_NAME).write_text(f"file {BASE_NAME} seq 1 type b\n")


def events_version(*, port: int, password: str) -> str:
    """Which server it is, in which version, such as `valkey 8.1.0`. Raises StackError."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=SILENCE_SECONDS) as connection:
            connection.sendall(f"AUTH {password}\r\nINFO server\r\n".encode())
            answer = b""
            while b"valkey_version:" not in answer or not answer.endswith(b"\r\n"):
                part = connection.recv(INFO_LIMIT_BYTES)
                if not part or len(answer) > INFO_LIMIT_BYTES:
                    break
                answer += part
    except OSError as error:
        raise StackError(f"The events server does not answer: {error}.") from error
    facts = dict(line.split(":", 1) for line in answer.decode(errors="replace").splitlines() if ":" in line)
    return f"valkey {facts.get('valkey_version', 'of an unknown version')}"


def _ask(connection: socket.socket, stream: BufferedReader, command: str) -> None:
    """One command that is answered with OK; the next may be sent only then."""
    connection.sendall(f"{command}\r\n".encode())
    answer = stream.readline(LINE_LIMIT_BYTES)
    if answer != b"+OK\r\n":
        raise StackError(f"The events server hands out no copy: {answer.decode(errors='replace').strip() or 'it hung up'}.")


def _read_until_mark(stream: BufferedReader) -> bytes:
    """Read up to `$EOF:` and the mark that will end the copy. Raises StackError."""
    while (line := stream.readline(LINE_LIMIT_BYTES)) == b"\n":
        pass
    if not line.startswith(b"$EOF:"):
        raise StackError(f"The events server hands out no copy: {line.decode(errors='replace').strip() or 'it hung up'}.")
    return line.removeprefix(b"$EOF:").rstrip(b"\r\n")
