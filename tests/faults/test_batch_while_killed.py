"""`kill -9` of any process of `fetchwork up` while a batch of 20,000 lines runs: all of them finish, each once.

As a user would: `fetchwork up` in one terminal, `fetchwork batch` in another. What the supervisor brings back is left to it;
where the supervisor itself is killed, `fetchwork up` is typed again.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from fetchwork_local.home import Home
from fetchwork_local.ports import free_port
from fetchwork_local.postgres import database_url
from fetchwork_local.privileges import with_parent
from fetchwork_local.state import recall
from fetchwork_local.waiting import wait_until
from harness.origin import FaultOrigin

COMMAND = str(Path(sys.executable).with_name("fetchwork"))
LINES = 20_000
READY_SECONDS = 60
BATCH_SECONDS = 240
VICTIMS = ("gateway", "fetcher", "store", "postgres", "events", "broker", "supervisord", "fetchwork up")


@dataclass(slots=True)
class Terminal:
    """A home, and `fetchwork up` in the foreground of it."""

    folder: Path
    environment: dict[str, str]
    up: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """`fetchwork up`; returns when the stack is ready."""
        self.up = subprocess.Popen(
            with_parent((COMMAND, "up")),
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self.is_ready, timeout_seconds=READY_SECONDS)

    def is_ready(self) -> bool:
        """What `fetchwork status` says."""
        return self.call("status").returncode == 0

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command, to its end."""
        return subprocess.run(
            [COMMAND, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=BATCH_SECONDS,
        )

    def pid(self, victim: str) -> int:
        """Whom to kill."""
        assert self.up is not None
        if victim == "fetchwork up":
            return self.up.pid
        if victim == "supervisord":
            return int((self.folder / "home/run/supervisord.pid").read_text())
        return int(json.loads(self.call("status", "--json").stdout)["processes"][victim])

    async def rows(self, batch_id: str) -> list[asyncpg.Record]:
        """What the ledger has of a batch: for each URL its status, and how many rows."""
        state = recall(Home(self.folder / "home"))
        assert state is not None
        url = database_url(port=state.ports.postgres, password=state.secrets.postgres_password)
        connection = await asyncpg.connect(url)
        try:
            found: list[asyncpg.Record] = await connection.fetch(
                "SELECT request ->> 'url' AS url, status FROM fetches WHERE batch_id = $1::uuid", batch_id
            )
            return found
        finally:
            await connection.close()


@pytest.fixture
def terminal(tmp_path: Path, fault_origin: FaultOrigin) -> Iterator[Terminal]:
    """A stack of one test's own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "FETCHWORK_HOME": str(tmp_path / "home"),
        "FETCHWORK_PORT": str(free_port()),
        "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{fault_origin.address}/32",
        "FETCHWORK_HOST_MAX_IN_FLIGHT": "64",
        "FETCHWORK_LEASE_MARGIN_SECONDS": "2",
    }
    terminal = Terminal(tmp_path, environment)
    terminal.start()
    yield terminal
    stopped = terminal.call("down")
    assert stopped.returncode == 0, stopped.stderr
    assert terminal.up is not None
    terminal.up.wait(READY_SECONDS)


@pytest.mark.parametrize("victim", VICTIMS)
async def test_any_process_killed_while_20_000_lines_run_and_all_finish_once(
    terminal: Terminal, fault_origin: FaultOrigin, tmp_path: Path, rng: random.Random, victim: str
) -> None:
    prefix = f"batch-{VICTIMS.index(victim)}"
    urls = [fault_origin.url(f"{prefix}-{number}") for number in range(LINES)]
    lines = tmp_path / "lines.ndjson"
    lines.write_text("".join(json.dumps({"url": url, "timeout_seconds": 5.0}) + "\n" for url in urls), encoding="utf-8")
    began = rng.uniform(0.05, 0.6) * LINES
    batch = asyncio.create_task(asyncio.to_thread(terminal.call, "batch", str(lines), "--json"))
    victim_pid = await asyncio.to_thread(terminal.pid, victim)
    async with asyncio.timeout(READY_SECONDS):
        while (hits := _hits(fault_origin, prefix)).total() < began:
            await asyncio.sleep(0.1)
    os.kill(victim_pid, signal.SIGKILL)
    assert hits.total() < LINES and not batch.done(), "it was not killed in the middle"
    if victim == "supervisord":
        assert terminal.up is not None
        await asyncio.to_thread(terminal.up.wait, READY_SECONDS)
        await asyncio.to_thread(terminal.start)
    done = await batch
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    assert document["counts"]["succeeded"] == document["total"] == LINES
    rows = await terminal.rows(document["id"])
    assert Counter((row["url"], row["status"]) for row in rows) == Counter((url, "succeeded") for url in urls)
    hits = _hits(fault_origin, prefix)
    assert len(hits) == LINES
    print(f"{victim}: {hits.total() - LINES} of {LINES} were requested a second time")
    assert terminal.is_ready()


def _hits(origin: FaultOrigin, prefix: str) -> "Counter[str]":
    return Counter({token: len(hits) for token, hits in origin.hits().items() if token.startswith(f"{prefix}-")})
