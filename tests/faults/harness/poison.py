"""Fetches that kill whichever worker starts them, as a page does that a parser or a codec chokes on."""

import functools
from collections.abc import Callable
from typing import Any

from harness.failpoints import kill_self, wrap_function

POISON = "poison"
"""In its URL."""


def die_of_poison() -> None:
    """From now on this worker kills itself when it starts an attempt whose URL says so."""
    wrap_function("fetcher.attempts", "perform", _deadly)


def _deadly(perform: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(perform)
    async def performing(command: Any, **named: Any) -> Any:
        if POISON in command.request.url:
            kill_self()
        return await perform(command, **named)

    return performing
