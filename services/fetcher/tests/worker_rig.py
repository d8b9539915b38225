"""`python -m fetcher` as a test sees it: a process with a log and a port for operators, and what it takes and gives."""

import asyncio
import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiohttp import web
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import PerformFetch, PerformFetches

EXIT_TIMEOUT_SECONDS = 15


@dataclass
class Worker:
    """A running fetcher process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        rows = [json.loads(row) for row in self.log.read_text().splitlines() if row.startswith("{")]
        return [row for row in rows if row.get("event") == event]

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to this process."""
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """Wait until it has ended."""
        return await asyncio.to_thread(self.process.wait, EXIT_TIMEOUT_SECONDS)

    async def operations(self, path: str) -> str:
        """What the port for operators answers."""
        port = self.lines("fetcher started")[0]["metrics_port"]

        def get() -> str:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(get)


def message_of(*commands: PerformFetch) -> str:
    """What the store's dispatcher sends."""
    batch = PerformFetches(fetches=commands)
    return Envelope[PerformFetches].wrap(
        batch, type=FETCH_PERFORM, source="test", subject="batch", now=utc_now(), traceparent=None
    ).model_dump_json()


class Gate:
    """An origin that answers only when it is told to."""

    def __init__(self) -> None:
        self.open, self.waiting = asyncio.Event(), 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.waiting += 1
        await self.open.wait()
        return web.Response(text="at last")
