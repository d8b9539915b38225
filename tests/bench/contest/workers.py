"""More fetcher processes beside a stack's own, as an operator would add replicas."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
from fetchwork_local.environments import service_environments
from fetchwork_local.ports import free_port
from fetchwork_local.stack import Stack
from fetchwork_local.state import recall

READY_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 80
ANNOUNCED_SECONDS = 2.0
"""In which the store has seen the slots of a new worker."""


@contextmanager
def more_fetchers(stack: Stack, many: int) -> Iterator[list[int]]:
    """The process ids of so many more, ready, and stopped in the end."""
    with ExitStack() as closing:
        pids = [closing.enter_context(_fetcher(stack, instance=f"more-{number}")) for number in range(many)]
        if many:
            time.sleep(ANNOUNCED_SECONDS)  # nothing says when the store has looked
        yield pids


@contextmanager
def _fetcher(stack: Stack, *, instance: str) -> Iterator[int]:
    state, port = recall(stack.home), free_port()
    assert state is not None
    environment = service_environments(state, caller=os.environ)["fetcher"]
    changes = {"FETCHWORK_METRICS_PORT": str(port), "FETCHWORK_INSTANCE": instance, "PATH": os.environ["PATH"]}
    log = Path(stack.home.logs) / f"{instance}.log"
    with log.open("wb") as output, subprocess.Popen(
        [sys.executable, "-m", "fetcher"], env=environment | changes, stdout=output, stderr=output
    ) as process:
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/readyz")
            yield process.pid
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_SECONDS)


def _wait_until_ready(url: str) -> None:
    ends_at = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < ends_at:
        try:
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)  # until it listens
    raise SystemExit(f"a fetcher did not get ready: {url}")
