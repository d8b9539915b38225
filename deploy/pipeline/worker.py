"""A real Celery worker in the background, for the tests that want one that they did not start themselves.

    .venv/bin/python deploy/pipeline/worker.py start    # waits until it is ready
    .venv/bin/python deploy/pipeline/worker.py log
    .venv/bin/python deploy/pipeline/worker.py stop

Takes its Redis servers from FETCHWORK_TEST_EVENTS_URL and FETCHWORK_TEST_BROKER_URL. May fetch from loopback: its tests' origins
are there. Keeps its log and process id in build/worker.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

FOLDER = Path("build/worker")
LOG, PID = FOLDER / "worker.log", FOLDER / "pid"
READY_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30
ANSWER_TIMEOUT_SECONDS = 2
POLL_SECONDS = 0.2


def worker_environment(environment: Mapping[str, str], *, metrics_port: int) -> dict[str, str]:
    """Exactly what the worker gets; no other variable of the caller reaches it."""
    return {
        "PATH": environment["PATH"],
        "FETCHWORK_EVENTS_URL": environment["FETCHWORK_TEST_EVENTS_URL"],
        "FETCHWORK_BROKER_URL": environment["FETCHWORK_TEST_BROKER_URL"],
        "FETCHWORK_STORE_URL": "http://127.0.0.1:1",
        "FETCHWORK_STORE_TOKEN": secrets.token_hex(16),
        "FETCHWORK_METRICS_PORT": str(metrics_port),
        "FETCHWORK_INSTANCE": "background",
        "FETCHWORK_UNSAFE_TARGET_NETWORKS": "127.0.0.0/8",
    }


def start() -> int:
    """Start the worker and wait until it says that it is ready; stops it and shows its log when it does not."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fetcher"], env=worker_environment(os.environ, metrics_port=port),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    PID.write_text(str(process.pid), encoding="utf-8")
    if _becomes_ready(process, port):
        print(f"worker {process.pid} is ready; its log is {LOG}")
        return 0
    print("error: the worker did not become ready", file=sys.stderr)
    show_log()
    process.kill()
    return 1


def show_log() -> int:
    """Print what the worker has said."""
    print(LOG.read_text(encoding="utf-8", errors="replace") if LOG.exists() else "the worker was never started")
    return 0


def stop() -> int:
    """Ask the worker to drain, and kill it when it takes too long."""
    if not PID.exists():
        return 0
    pid = int(PID.read_text(encoding="utf-8"))
    PID.unlink()
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    is_running = _signal(pid, signal.SIGTERM)
    while is_running and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # between two looks; nothing tells us
        is_running = _signal(pid, 0)
    if is_running:
        _signal(pid, signal.SIGKILL)
    return 0


def _signal(pid: int, number: int) -> bool:
    """Send a signal to the worker; false when it is gone. A process id that now belongs to another program is left alone."""
    command_line = Path(f"/proc/{pid}/cmdline")
    try:
        if b"fetcher" not in command_line.read_bytes():
            return False
        os.kill(pid, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _becomes_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _is_ready(port):
            return True
        time.sleep(POLL_SECONDS)  # between two looks; nothing tells us
    return False


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> int:
    """Run the step named on the command line."""
    steps = {"start": start, "log": show_log, "stop": stop}
    if len(sys.argv) != 2 or sys.argv[1] not in steps:
        print(f"usage: worker.py {'|'.join(steps)}", file=sys.stderr)
        return 2
    return steps[sys.argv[1]]()


if __name__ == "__main__":
    sys.exit(main())
