"""A process in other surroundings: names that are looked up in a file, a clock that is wrong, acknowledgements that get lost.

Patched in as mutants are.
"""

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.failpoints import wrap_function

NAMES_FILE = "FAULTS_NAMES_FILE"
"""The environment variable of `fixed_names` that says where the names are."""
CLOCK_FILE = "FAULTS_CLOCK_FILE"
"""The environment variable of `false_clock` that says where its error is, in seconds."""
LOST_ACKNOWLEDGEMENTS = 2
"""Fewer than a worker may have open: beyond that it would take no further message."""


def fixed_names() -> None:
    """Look names up in a file of lines `name address` and ask no resolver. Without the file nothing is found."""

    def look_up(name: str) -> list[str]:
        try:
            lines = Path(os.environ[NAMES_FILE]).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            lines = []
        if found := [line.split()[1] for line in lines if line.split()[0] == name.rstrip(".")]:
            return found
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    wrap_function("common.egress.lookup", "_addresses_of", lambda _: look_up)


def false_clock() -> None:
    """A wall clock that is as wrong as a file says, for all Python code. The monotonic clock stays true."""
    path, true_time = Path(os.environ[CLOCK_FILE]), time.time

    def now() -> float:
        return true_time() + int(path.read_text(encoding="ascii"))

    time.time = now
    wrap_function("common.clock", "utc_now", lambda _: lambda: datetime.fromtimestamp(now(), UTC))


def lost_acknowledgements() -> None:
    """A worker whose first acknowledgements do not arrive, as when the connection breaks between a task's begin and that."""

    def wrapper(ack: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
        lost = 0

        def acknowledge(queue: Any, delivery_tag: str) -> None:
            nonlocal lost
            if lost < LOST_ACKNOWLEDGEMENTS:
                lost += 1
                raise ConnectionResetError("cut before the acknowledgement")
            ack(queue, delivery_tag)

        return acknowledge

    wrap_function("kombu.transport.redis", "QoS.ack", wrapper)
