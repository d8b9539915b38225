"""Stacks with stand-ins for the services, and a look at which processes belong to a folder."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fetchwork_local.privileges import Command
from fetchwork_local.programs import SERVICES
from fetchwork_local.stack import Stack

STAND_IN = Path(__file__).with_name("stand_in_service.py")


@pytest.fixture
def stand_ins() -> dict[str, Command]:
    """What to run in place of the three services."""
    return {name: (sys.executable, str(STAND_IN), name) for name in SERVICES}


@pytest.fixture
def make_stack(tmp_path: Path, stand_ins: dict[str, Command]) -> Iterator[Callable[..., Stack]]:
    """Builds stacks that run stand-ins, and stops whatever the test left running."""
    made: list[Stack] = []

    def make(home: Path = tmp_path / "home", *, fault: str = "", **services: Command) -> Stack:
        environment = {"FETCHWORK_API_KEY": "", "FETCHWORK_PORT": "", "FETCHWORK_STAND_IN_FAULT": fault}
        made.append(Stack(home, environment=environment, services=stand_ins | services))
        return made[-1]

    yield make
    for stack in made:
        stack.stop()


@pytest.fixture
def processes_of() -> Callable[[Path], list[psutil.Process]]:
    """Finds every living process, but this one, that works in a folder or has it on its command line or in its environment."""

    def find(folder: Path) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and _mentions(process, folder)]

    return find


def _mentions(process: psutil.Process, folder: Path) -> bool:
    try:
        facts = [process.cwd(), *process.cmdline(), *process.environ().values()]
        return process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in fact for fact in facts)
    except psutil.Error:
        return False
