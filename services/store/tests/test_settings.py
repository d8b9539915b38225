"""Settings: nothing secret has a default, and contradictions stop the process before it starts."""

import subprocess
import sys

import pytest

COMPLETE = {
    "FETCHWORK_METRICS_PORT": "0",
    "FETCHWORK_STORE_PORT": "0",
    "FETCHWORK_EVENTS_URL": "redis://127.0.0.1:1/0",
    "FETCHWORK_BROKER_URL": "redis://127.0.0.1:1/1",
    "FETCHWORK_DATABASE_URL": "postgresql://u:topsecret@127.0.0.1:1/d",
    "FETCHWORK_STORE_TOKEN": "0123456789abcdef",
}


def _start(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "store"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", [f"FETCHWORK_{name}" for name in ("STORE_TOKEN", "DATABASE_URL", "BROKER_URL", "EVENTS_URL")])
def test_a_missing_secret_is_named_and_nothing_starts(name: str) -> None:
    process = _start({key: value for key, value in COMPLETE.items() if key != name})
    assert process.returncode == 2
    assert name in process.stderr


def test_every_contradiction_is_named_at_once_without_showing_secrets() -> None:
    wrong = {
        "FETCHWORK_BROKER_URL": COMPLETE["FETCHWORK_EVENTS_URL"],
        "FETCHWORK_DISPATCH_BATCH_FETCHES": "400",
        "FETCHWORK_DISPATCH_CLAIM_FETCHES": "100",
    }
    process = _start(COMPLETE | wrong)
    assert process.returncode == 2
    assert "FETCHWORK_EVENTS_URL" in process.stderr and "FETCHWORK_DISPATCH_BATCH_FETCHES" in process.stderr
    assert "topsecret" not in process.stderr + process.stdout


def test_a_database_that_does_not_answer_ends_the_process_with_a_reason() -> None:
    process = _start(COMPLETE)
    assert process.returncode == 1
    assert "DatabaseUnavailable" in process.stdout
    assert "topsecret" not in process.stderr + process.stdout


def test_a_migration_needs_the_database_and_nothing_else() -> None:
    command = [sys.executable, "-m", "store", "migrate"]
    without = subprocess.run(command, env={}, capture_output=True, text=True, timeout=30, check=False)
    assert (without.returncode, without.stderr.count("FETCHWORK_")) == (2, 1)
    away = {"FETCHWORK_DATABASE_URL": "postgresql://u:topsecret@127.0.0.1:1/d"}
    unreachable = subprocess.run(command, env=away, capture_output=True, text=True, timeout=60, check=False)
    assert unreachable.returncode == 1
    assert "DatabaseUnavailable" in unreachable.stdout + unreachable.stderr
