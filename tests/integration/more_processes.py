"""Further replicas of services beside those of an embedded stack, each with ports of its own, ended by process id."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from fetchwork_local.environments import service_environments
from fetchwork_local.ports import LOOPBACK, free_port
from fetchwork_local.privileges import with_parent
from fetchwork_local.programs import SERVICES
from fetchwork_local.stack import Stack
from fetchwork_local.state import recall

READY_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 15
DRAIN_TIMEOUT_SECONDS = 90
POLL_SECONDS = 0.1
PORT_NAMES = {"gateway": "FETCHWORK_PORT", "store": "FETCHWORK_STORE_PORT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process: a service, under a name that no other has, the port where it serves if it does, and where its metrics are."""

    service: str
    name: str
    port: int | None
    operations_url: str
    process: "subprocess.Popen[bytes]"

    @property
    def public_url(self) -> str | None:
        """Where callers reach it; None of what is no gateway."""
        return f"http://{LOOPBACK}:{self.port}" if self.service == "gateway" else None


class MoreProcesses:
    """Started from the thread that the tests run in: the kernel ends them when that thread ends."""

    def __init__(self, stack: Stack, *, environment: Mapping[str, str], folder: Path) -> None:
        self._stack = stack
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self.replicas: dict[str, Replica] = {}

    def start(self, service: str, name: str, *, changes: Mapping[str, str] | None = None) -> None:
        """Start a replica, or start it again under the same name, with these of its variables; returns before it is ready."""
        state = recall(self._stack.home)
        assert state is not None
        ports = {"FETCHWORK_METRICS_PORT": str(free_port())}
        if service in PORT_NAMES:
            ports[PORT_NAMES[service]] = str(free_port())
        own = {"FETCHWORK_INSTANCE": name, **(changes or {})}
        environment = service_environments(state, caller=self._environment)[service] | ports | own
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                with_parent(SERVICES[service]),
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        url = f"http://{LOOPBACK}:{ports['FETCHWORK_METRICS_PORT']}"
        port = int(ports[PORT_NAMES[service]]) if service in PORT_NAMES else None
        self.replicas[name] = Replica(service=service, name=name, port=port, operations_url=url, process=process)

    def wait_until_ready(self) -> None:
        """Return once all serve."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        with httpx2.Client(timeout=5, trust_env=False) as client:
            for replica in self.replicas.values():
                while not _is_ready(client, replica):
                    assert replica.process.poll() is None, self.log(replica.name)
                    assert time.monotonic() < deadline, f"{replica.name} is not ready: {self.log(replica.name)}"
                    time.sleep(POLL_SECONDS)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.replicas[name].process
        process.kill()
        process.wait(STOP_TIMEOUT_SECONDS)

    def terminate(self, name: str) -> None:
        """SIGTERM; returns at once."""
        self.replicas[name].process.send_signal(signal.SIGTERM)

    def exit_code(self, name: str) -> int:
        """How it ended, once it has."""
        return self.replicas[name].process.wait(DRAIN_TIMEOUT_SECONDS)

    def whole_log(self, name: str) -> str:
        """All that it has logged."""
        return (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End all, in order where they can in time."""
        for replica in self.replicas.values():
            with suppress(ProcessLookupError):
                replica.process.send_signal(signal.SIGTERM)
        for replica in self.replicas.values():
            try:
                replica.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill(replica.name)

    def log(self, name: str) -> str:
        """The end of what it has logged."""
        return self.whole_log(name)[-3000:]


def _is_ready(client: httpx2.Client, replica: Replica) -> bool:
    try:
        return client.get(f"{replica.operations_url}/readyz").status_code == 200
    except httpx2.TransportError:
        return False
