"""A system that exports its spans, with what a test of traces and logs needs beside it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from driver import Driver
from fetchwork_local.stack import Stack
from more_processes import MoreProcesses
from otlp_receiver import Receiver
from system import ORIGIN_ADDRESS

TRACED_ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{ORIGIN_ADDRESS}/32",
    "FETCHWORK_HOST_MAX_IN_FLIGHT": "256",
    "FETCHWORK_API_KEY": "",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=trial",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """The stack, a client of it, the spans that it exported, and a way to run more of its processes."""

    stack: Stack
    driver: Driver
    receiver: Receiver
    more: MoreProcesses


async def until(is_so: Callable[[], bool], *, what: str, seconds: float = 15) -> None:
    """Return once it is so; fail, naming what was waited for, when it is not in time."""
    try:
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in {seconds} s: {what}") from None
