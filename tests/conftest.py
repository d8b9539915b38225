"""Containers for tests: what they need on the machine, a loud skip where it is missing, and the one stack that all share."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_project import Compose, compose_stack

TIMEOUT_SECONDS = 30
SKIPPED = "SKIPPED CONTAINER TESTS:"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the containers comes last, so that their health checks take no time from anything else."""
    items.sort(key=_needs_containers)


def _needs_containers(item: pytest.Item) -> bool:
    is_parameter = "containers" in getattr(getattr(item, "callspec", None), "id", "").split("-")
    return is_parameter or "running" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def compose() -> None:
    """Skips, and says why, where there is no docker program with Compose."""
    if shutil.which("docker") is None:
        pytest.skip(f"{SKIPPED} there is no docker program on this machine")
    answer = _ask("compose", "version", "--short")
    if answer.returncode != 0 or not answer.stdout.strip().lstrip("v")[:1].isdigit():
        pytest.skip(f"{SKIPPED} docker has no compose plugin on this machine")


@pytest.fixture(scope="session")
def engine(compose: None) -> None:
    """Skips, and says why, where no engine answers."""
    answer = _ask("info", "--format", "{{.ServerVersion}}")
    if answer.returncode != 0:
        pytest.skip(f"{SKIPPED} no Docker engine answers: {answer.stderr.strip()[:200]}")


@pytest.fixture(scope="session")
def running(engine: None, repository: Path) -> Iterator[Compose]:
    """The stack in containers, once for all tests of a session."""
    with compose_stack(repository) as compose:
        yield compose


def _ask(*question: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *question], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
