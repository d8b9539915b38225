"""Start the stack of the compose file for tests, under a name, a port and a range of addresses of its own, and remove it whole.

The one place where tests start containers. What these need on the machine is in tests/conftest.py.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from fetchwork_local.ports import free_port
from fetchwork_local.waiting import wait_until

FILES = ("docker-compose.yml", "tests/integration/containers.yml")
API_KEY = "a-key-of-the-container-tests"
OURS = ("gateway", "fetcher", "store")
RANGES = tuple(IPv4Network("10.213.128.0/17").subnets(new_prefix=26))
ENGINE_TIMEOUT_SECONDS = 30
NOTICE_SECONDS = 10
READY_TIMEOUT_SECONDS = 90
UP_TIMEOUT_SECONDS = 900
"""A first build fetches every wheel."""
KILL_IMAGE = "python:3.13-slim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """The `docker compose` command for one project."""

    folder: Path
    environment: dict[str, str]

    @property
    def gateway_url(self) -> str:
        """Where the gateway is published."""
        return f"http://127.0.0.1:{self.environment['FETCHWORK_PORT']}"

    @property
    def demo_address(self) -> str:
        """The demo website, for fetchers."""
        return self.environment["FETCHWORK_DEMO_ADDRESS"]

    @property
    def origin_address(self) -> str:
        """The tests' origin, for fetchers."""
        return self.environment["FETCHWORK_TEST_ORIGIN_ADDRESS"]

    def image(self, service: str) -> str:
        """What this project calls the image of one of our services."""
        return f"fetchwork/{service}:{self.environment['FETCHWORK_TAG']}"

    def run(self, *arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it and return what it said."""
        return _docker(
            "compose", *arguments, timeout=timeout, check=check, folder=self.folder, environment=self.environment
        )

    def start(self, *arguments: str, **images: str) -> None:
        """`up` until what is named, or everything, is healthy; `images` sets variables of the compose file."""
        compose = Compose(folder=self.folder, environment={**self.environment, **images})
        up = compose.run("up", "--detach", "--wait", *arguments, timeout=UP_TIMEOUT_SECONDS, check=False)
        logs = compose.run("logs", "--tail", "5", "--no-color", check=False).stdout if up.returncode else ""
        assert up.returncode == 0, f"{up.stderr[-2000:]}\n{logs[-6000:]}"

    def containers(self, *services: str) -> list[str]:
        """The ids of the containers of these services, or of all; also of those that just died."""
        return self.run("ps", "--all", "--quiet", *services).stdout.split()

    def inspect(self, *services: str) -> list[dict[str, Any]]:
        """What the engine knows about these containers."""
        found: list[dict[str, Any]] = json.loads(_docker("inspect", *self.containers(*services)).stdout)
        return found

    def pids(self, service: str) -> frozenset[int]:
        """The first processes of a service's containers, as the machine numbers them; 0 for one that does not run."""
        return frozenset(int(container["State"]["Pid"]) for container in self.inspect(service))

    def kill(self, service: str) -> None:
        """SIGKILL the first process of each of a service's containers, as the kernel would when memory runs out.

        Not `docker kill`, after which the engine would leave them dead: their restart policy is to bring them back.
        """
        pids = self.pids(service) - {0}
        assert pids, f"{service} does not run"
        program = f"import os; [os.kill(pid, 9) for pid in {sorted(pids)}]"
        contained = ("--pid", "host", "--user", "0", "--network", "none", "--cap-drop", "ALL", "--cap-add", "KILL")
        _docker("run", "--rm", *contained, KILL_IMAGE, "python", "-ISc", program)
        wait_until(lambda: pids.isdisjoint(self.pids(service)), timeout_seconds=NOTICE_SECONDS)

    def is_ready(self) -> bool:
        """True when every container that has a health check runs and passes it."""
        states = [container["State"] for container in self.inspect()]
        return all(state["Running"] and state["Health"]["Status"] == "healthy" for state in states if state.get("Health"))

    def wait_until_ready(self) -> None:
        """Return once `is_ready`."""
        wait_until(self.is_ready, timeout_seconds=READY_TIMEOUT_SECONDS, interval_seconds=0.2)

    def python(self, service: str, program: str) -> str:
        """What a Python program prints inside the first of a service's containers."""
        return self.python_in(self.containers(service)[0], program)

    def python_in(self, container: str, program: str) -> str:
        """What a Python program prints inside a running container."""
        return _docker("exec", container, "python", "-c", program).stdout.strip()

    def logs(self, service: str) -> str:
        """What a service's containers have said."""
        answers = [_docker("logs", container) for container in self.containers(service)]
        return "".join(answer.stdout + answer.stderr for answer in answers)

    def origin_window(self) -> str:
        """Where the tests reach the origin that fetchers fetch from."""
        return f"http://{self.run('port', 'origin', '8000').stdout.strip()}"


@contextmanager
def compose_stack(repository: Path) -> Iterator[Compose]:
    """The whole stack, built and ready, with two fetchers; afterwards nothing of it is left, also when it did not start."""
    name = f"fetchwork-tests-{os.getpid()}"
    addresses = RANGES[os.getpid() % len(RANGES)]
    origin = str(addresses[3])
    compose = Compose(
        folder=repository,
        environment=_environment(
            COMPOSE_PROJECT_NAME=name,
            COMPOSE_FILE=os.pathsep.join(FILES),
            FETCHWORK_TAG=name,
            FETCHWORK_PORT=str(free_port()),
            FETCHWORK_API_KEY=API_KEY,
            FETCHWORK_DEMO_SUBNET=str(addresses),
            FETCHWORK_DEMO_ADDRESS=str(addresses[2]),
            FETCHWORK_TEST_ORIGIN_ADDRESS=origin,
            FETCHWORK_UNSAFE_TARGET_NETWORKS=f"{origin}/32",
        ),
    )
    # So that whoever ends a test run early, as `timeout` and runners do, leaves nothing behind either.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        compose.run("build", *OURS, timeout=UP_TIMEOUT_SECONDS)  # each image once, although two services may run from it
        compose.start("--no-build")
        yield compose
    finally:
        signal.signal(signal.SIGTERM, before)
        compose.run("down", "--volumes", "--timeout", "2", check=False)
        _docker("image", "rm", *(compose.image(service) for service in OURS), check=False)


def _environment(**own: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FETCHWORK_", "COMPOSE_"))}
    return {**inherited, **own}


def _docker(
    *arguments: str,
    timeout: float = ENGINE_TIMEOUT_SECONDS,
    check: bool = True,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        ["docker", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert not check or answer.returncode == 0, f"docker {arguments[0]}: {answer.stderr[-2000:]}"
    return answer
