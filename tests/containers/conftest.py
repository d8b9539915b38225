"""What every test over containers needs on the machine, and a loud skip where it is missing."""

import shutil
import subprocess

import pytest

COMPOSE_TIMEOUT_SECONDS = 30


@pytest.fixture(scope="session")
def compose() -> None:
    """Skips, and says why, where there is no docker program with Compose."""
    if shutil.which("docker") is None:
        pytest.skip("SKIPPED CONTAINER TESTS: there is no docker program on this machine")
    command = ["docker", "compose", "version", "--short"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=COMPOSE_TIMEOUT_SECONDS, check=False)
    if answer.returncode != 0 or not answer.stdout.strip().lstrip("v")[:1].isdigit():
        pytest.skip("SKIPPED CONTAINER TESTS: docker has no compose plugin on this machine")
