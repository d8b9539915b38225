"""Wait for a condition, never without a time limit, and let a signal cut the wait short."""

import time
from collections.abc import Callable
from typing import TypeVar

from fetchwork_local.errors import Interrupted

INTERVAL_SECONDS = 0.05

Found = TypeVar("Found")


def never() -> bool:
    """The `interrupted` of a caller that cannot be interrupted."""
    return False


def wait_until(
    condition: Callable[[], Found | None],
    *,
    timeout_seconds: float,
    interrupted: Callable[[], bool] = never,
    interval_seconds: float = INTERVAL_SECONDS,
) -> Found:
    """The first truthy value of `condition`. Raises TimeoutError after `timeout_seconds`, Interrupted when asked to stop."""
    deadline = time.monotonic() + timeout_seconds
    while not (found := condition()):
        if interrupted():
            raise Interrupted("stopped while waiting")
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout_seconds:.0f} s")
        time.sleep(interval_seconds)  # between two looks; nothing tells us
    return found
