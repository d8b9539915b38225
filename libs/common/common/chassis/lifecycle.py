"""Keep a process's loops running until it is told to stop: restart a failed pass with back-off, stop in order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import structlog

BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_LIMIT_SECONDS = 5.0

log = structlog.get_logger()


class Loop(Protocol):
    """Background work in passes. `run_once` does one pass and may wait for work; it says how long to rest after it."""

    name: str

    async def run_once(self) -> float:
        """Do one pass; return the seconds to rest before the next (0 for none). Raise on our own faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass of a loop that is over: how long it took, and whether it went well."""

    loop: str
    seconds: float
    is_ok: bool


async def run_loop(loop: Loop, stopping: asyncio.Event, *, on_pass: Callable[[Pass], None]) -> None:
    """Run passes until `stopping` is set; after a failed pass rest with exponential back-off, then go on.

    `on_pass` is told of each that ended by itself, well or not.
    """
    backoff = BACKOFF_FIRST_SECONDS
    while not stopping.is_set():
        began = monotonic()
        try:
            rest = await loop.run_once()
            on_pass(Pass(loop=loop.name, seconds=monotonic() - began, is_ok=True))
            backoff = BACKOFF_FIRST_SECONDS
        except Exception as error:
            on_pass(Pass(loop=loop.name, seconds=monotonic() - began, is_ok=False))
            log.warning(
                "loop pass failed", loop=loop.name, error=type(error).__name__, reason=str(error)[:300], rest_seconds=backoff
            )
            rest, backoff = backoff, min(backoff * 2, BACKOFF_LIMIT_SECONDS)
        await rest_unless(stopping, rest)


async def rest_unless(event: asyncio.Event, seconds: float) -> bool:
    """Wait `seconds`, or less when `event` is set; True when it was set."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return event.is_set()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` in the running loop on SIGTERM or SIGINT; a second signal is handled the same way."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def end_task(task: asyncio.Task[None], *, timeout_seconds: float = 3.0) -> None:
    """Cancel and wait until it has ended: what it used may be closed then. One that will not end is logged and left."""
    task.cancel()
    _, unended = await asyncio.wait([task], timeout=timeout_seconds)
    if unended:
        log.warning("task not ended", task=task.get_name(), seconds=timeout_seconds)


async def close_all(*closers: Callable[[], Awaitable[object]], timeout_seconds: float = 5.0) -> None:
    """Await every closer in order, each with a timeout; a failure is logged and does not keep the rest from closing."""
    for closer in closers:
        try:
            async with asyncio.timeout(timeout_seconds):
                await closer()
        except Exception as error:
            log.warning("close failed", error=type(error).__name__, reason=str(error)[:300])
