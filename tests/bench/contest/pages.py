"""The origin's process, and URLs that nobody asked for before."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
from fetchwork_local.ports import DEMO_ADDRESS

HOSTS = 20
STOP_TIMEOUT_SECONDS = 10


class Pages:
    """Hands out URLs, evenly over the hosts of the origin; each is another page."""

    def __init__(self, ports: Sequence[int], origin: psutil.Process) -> None:
        self._ports = ports
        self._origin = origin
        self._numbers = count()

    def urls(self, many: int) -> list[str]:
        """So many new ones."""
        return [self._url(number) for number, _ in zip(self._numbers, range(many), strict=False)]

    def cpu_seconds(self) -> float:
        """What the origin has used so far."""
        times = self._origin.cpu_times()
        return float(times.user + times.system)

    def _url(self, number: int) -> str:
        return f"http://{DEMO_ADDRESS}:{self._ports[number % len(self._ports)]}/page/{number}"


@contextmanager
def running_origin() -> Iterator[Pages]:
    """The origin, at an address that the embedded stack's policy allows; stopped in the end."""
    command = [sys.executable, str(Path(__file__).parent / "origin.py"), DEMO_ADDRESS, str(HOSTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as origin:
        assert origin.stdin is not None and origin.stdout is not None
        try:
            yield Pages(json.loads(origin.stdout.readline()), psutil.Process(origin.pid))
        finally:
            origin.stdin.close()
            origin.wait(STOP_TIMEOUT_SECONDS)
