"""Settings: nothing secret has a default, and contradictions stop the process before it starts."""

import subprocess
import sys

import pytest
from store.settings import StoreSettings

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


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("FETCHWORK_LEASE_MARGIN_SECONDS=1", "deadline"),
        ("FETCHWORK_DISPATCH_LEASED_FETCHES=100", "FETCHWORK_DISPATCH_CLAIM_FETCHES"),
        ("FETCHWORK_TRAIN_FETCHES=1000", "FETCHWORK_DISPATCH_CLAIM_FETCHES"),
        ("FETCHWORK_DISPATCH_POLL_MS=5000 FETCHWORK_LEASE_MARGIN_SECONDS=2", "FETCHWORK_LEASE_MARGIN_SECONDS"),
        ("FETCHWORK_BREAKER_SECONDS=3600", "FETCHWORK_BREAKER_LIMIT_SECONDS"),
        ("FETCHWORK_BREAKER_PATIENCE_SECONDS=1", "FETCHWORK_BREAKER_SECONDS"),
        ("FETCHWORK_FETCH_RETENTION_SECONDS=3600", "a day"),
    ],
)
def test_links_that_do_not_fit_each_other_keep_the_store_from_starting(name: str, other: str) -> None:
    values = dict(setting.split("=") for setting in name.split())
    given = {key.removeprefix("FETCHWORK_").lower(): value for key, value in (COMPLETE | values).items()}
    faults = StoreSettings.model_validate(given).faults()
    assert any(other in fault and list(values)[0] in fault for fault in faults)
    fitting = StoreSettings.model_validate({key.removeprefix("FETCHWORK_").lower(): value for key, value in COMPLETE.items()})
    assert fitting.faults() == []


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
