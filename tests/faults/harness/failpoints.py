"""A place in a service's code where the process kills itself, as the kernel or a power cut would: SIGKILL, nothing flushed.

A failpoint reads `after:store.consumer:Ingest._apply#2`: kill when that function has returned for the second time; `before:`
kills when it is called. A return of an empty collection does not count, which is how a loop that found nothing is passed over.
With `!STOP` at the end the process freezes there instead, until it gets SIGCONT: see `Cluster.notices_frozen`.
"""

import functools
import importlib
import inspect
import os
import signal
from collections.abc import Callable, Sized
from typing import Any

FAILPOINT = "FAILPOINT"
"""The environment variable."""


STOP_SUFFIX = "!STOP"


def kill_self() -> None:
    """Ends this process here and now."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop_self() -> None:
    """Freezes this process here and now."""
    os.kill(os.getpid(), signal.SIGSTOP)


def arm(spec: str) -> None:
    """Put one failpoint in place. Raises ValueError, ImportError or AttributeError when it names no function."""
    act = stop_self if spec.endswith(STOP_SUFFIX) else kill_self
    moment, module, name = spec.removesuffix(STOP_SUFFIX).split(":")
    name, _, number = name.partition("#")
    if moment not in ("before", "after"):
        raise ValueError(f"{spec}: a failpoint is before or after a function")
    wrap_function(module, name, lambda function: _deadly(function, act, moment=moment, number=int(number or 1)))


def wrap_function(module: str, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function or method where callers look it up. Raises AttributeError when there is none of that name."""
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, wrapper(getattr(owner, last)))


def _deadly(
    function: Callable[..., Any], act: Callable[[], None], *, moment: str, number: int
) -> Callable[..., Any]:
    calls = 0

    def count(result: object = None) -> None:
        nonlocal calls
        calls += not (isinstance(result, Sized) and len(result) == 0)
        if calls == number:
            act()

    @functools.wraps(function)
    async def asynchronous(*arguments: Any, **named: Any) -> Any:
        if moment == "before":
            count()
        result = await function(*arguments, **named)
        if moment == "after":
            count(result)
        return result

    @functools.wraps(function)
    def synchronous(*arguments: Any, **named: Any) -> Any:
        if moment == "before":
            count()
        result = function(*arguments, **named)
        if moment == "after":
            count(result)
        return result

    return asynchronous if inspect.iscoroutinefunction(function) else synchronous
