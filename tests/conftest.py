"""Containers for tests: what they need on the machine, a loud skip where it is missing, and the one stack that all share.

And the options of the fault suite, which pytest reads here and no deeper.
"""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_project import Compose, compose_stack

TIMEOUT_SECONDS = 30
SKIPPED = "SKIPPED CONTAINER TESTS:"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults all` runs every case of the fault suite, `--faults-seed` repeats a run."""
    parser.addoption("--faults", choices=("quick", "all"), default="quick", help="which cases of the fault suite to run")
    parser.addoption("--faults-seed", type=int, default=None, help="the seed that an earlier run of the fault suite printed")
    parser.addoption("--faults-rounds", type=int, default=12, help="how often case 36 kills, everything every second time")
    parser.addoption("--faults-rate", type=float, default=100.0, help="submissions a second meanwhile")
    parser.addoption("--faults-report", default=None, help="the page that case 36 writes its figures into")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the fault suite, once a session."""
    config.addinivalue_line("markers", "quick: a case of the fault suite that runs with every `make test`")
    if config.option.faults_seed is None:
        config.option.faults_seed = random.SystemRandom().randrange(2**32)


def pytest_report_header(config: pytest.Config) -> str:
    """Say the seed, so that a run can be repeated."""
    return f"fault suite: {config.option.faults} cases, --faults-seed {config.option.faults_seed}"


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
