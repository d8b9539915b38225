"""The background worker: it is up when `start` returns, its log can be shown, and `stop` leaves nothing running."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worker import worker_environment

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def worker(tmp_path: Path, repository: Path, events_url: str, broker_url: str) -> Iterator[Command]:
    """Run the program in a folder of its own; whatever it started is stopped at the end."""

    def run(step: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": os.environ["PATH"], "FETCHWORK_TEST_EVENTS_URL": events_url, "FETCHWORK_TEST_BROKER_URL": broker_url,
        } | environment  # fmt: skip
        command = [sys.executable, str(repository / "deploy/pipeline/worker.py"), step]
        return subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=120, check=False)

    yield run
    run("stop")


def test_worker_is_ready_shows_its_log_and_stops(worker: Command, tmp_path: Path) -> None:
    started = worker("start")
    assert started.returncode == 0, started.stdout + started.stderr
    process = int((tmp_path / "build/worker/pid").read_text())
    os.kill(process, 0)
    assert "fetcher started" in worker("log").stdout
    assert worker("stop").returncode == 0
    assert b"fetcher" not in _command_line(process)


def test_worker_that_cannot_start_says_why(worker: Command) -> None:
    done = worker("start", FETCHWORK_TEST_EVENTS_URL="nonsense")
    assert done.returncode == 1
    assert "did not become ready" in done.stderr and "Redis URL" in done.stdout


def test_log_and_stop_without_a_worker(worker: Command) -> None:
    assert "never started" in worker("log").stdout
    assert worker("stop").returncode == 0


def test_callers_variables_do_not_reach_the_worker() -> None:
    caller = {"PATH": "/bin", "FETCHWORK_TEST_EVENTS_URL": "e", "FETCHWORK_TEST_BROKER_URL": "b", "DATABASE_URL": "secret"}
    assert "secret" not in worker_environment(caller, metrics_port=1).values()


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""
