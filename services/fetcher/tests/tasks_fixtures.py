"""The fixture of what tasks_rig has. A test file asks for it by `pytest_plugins`."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tasks_rig import Rig


@pytest.fixture
async def rig(make_client: Callable[..., Any]) -> AsyncIterator[Callable[..., Rig]]:
    """Build tasks with so many slots."""
    rigs = []

    def make(*, slots: int = 8, client: Any = None, robots: Any = None, takes: Any = None, large_bodies: Any = None) -> Rig:
        rigs.append(Rig(client or make_client(), slots=slots, robots=robots, takes=takes, large_bodies=large_bodies))
        return rigs[-1]

    yield make
    for made in rigs:
        await made.tasks.finish(seconds=0)
