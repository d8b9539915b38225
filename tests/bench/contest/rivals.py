"""The other designs as contestants: processes of their own, in their own environment, with a Postgres and a Redis of their own.

Postgres commits as durably as Fetchwork's does. Celery's workers run all the time, and stand still while others have their turn.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from fetchwork_local.servers import embedded_postgres, embedded_redis

FOLDER = Path(__file__).parent / "rivals"
ENVIRONMENT = Path(__file__).parents[3] / ".venv-bench"
POOLS: Mapping[str, int] = {"prefork": 4, "threads": 32, "gevent": 100}
"""The pools of Celery and how many tasks each runs at once."""
CONNECTIONS = sum(POOLS.values()) + 20
"""What Postgres lets in: each task of each pool may have one, and some more ask how far they are."""
RUN_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 20


class Rivals:
    """The rivals, ready to run. Each `run` returns fetches a second, with every page in Postgres but the bare loop's."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str], workers: Mapping[str, subprocess.Popen[bytes]]) -> None:
        self._folder = folder
        self._environment = environment
        self._workers = workers

    def run_bare(self, urls: Sequence[str]) -> float:
        """The bare loop, in Fetchwork's own environment: the same aiohttp and uvloop."""
        return self._run([sys.executable, "bare_loop.py"], urls)

    def run_celery(self, pool: str, urls: Sequence[str]) -> float:
        """Plain Celery with one of its pools."""
        with awake(self._workers[pool].pid):
            return self._run([str(ENVIRONMENT / "bin/python"), "plain_celery.py"], urls, RIVAL_QUEUE=pool)

    def run_scrapy(self, urls: Sequence[str]) -> float:
        """Scrapy with a batching pipeline."""
        return self._run([str(ENVIRONMENT / "bin/python"), "scrapy_pipeline.py"], urls)

    def _run(self, command: Sequence[str], urls: Sequence[str], **changes: str) -> float:
        listed = self._folder / "urls"
        listed.write_text("\n".join(urls))
        done = subprocess.run(
            [*command, str(listed)],
            cwd=FOLDER,
            env={**self._environment, **changes},
            stdout=subprocess.PIPE,
            text=True,
            timeout=RUN_TIMEOUT_SECONDS,
            check=True,
        )
        said = json.loads(done.stdout)
        if said["fetches"] != len(urls):
            raise SystemExit(f"{command[1]}: {said['fetches']} of {len(urls)} pages came")
        return float(said["fetches"] / said["seconds"])


@contextmanager
def running_rivals(folder: Path) -> Iterator[Rivals]:
    """Servers and workers, stopped in the end."""
    if not ENVIRONMENT.exists():
        raise SystemExit("The rivals' environment is missing: run this as `make bench`.")
    with ExitStack() as closing:
        room = {"max_connections": str(CONNECTIONS)}
        database = closing.enter_context(embedded_postgres(folder / "postgres", is_durable=True, changes=room))
        broker = closing.enter_context(embedded_redis(folder / "broker", is_durable=False))
        environment = {"PATH": os.environ["PATH"], "RIVAL_DATABASE": database, "RIVAL_BROKER": broker}
        workers = {pool: closing.enter_context(_worker(pool, environment)) for pool in POOLS}
        yield Rivals(folder, environment=environment, workers=workers)


@contextmanager
def _worker(pool: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--pool", pool, "--concurrency", str(POOLS[pool]), "--queues", pool, "--hostname", pool, "--loglevel", "ERROR"]
    worker = subprocess.Popen(
        [str(ENVIRONMENT / "bin/celery"), "--app", "plain_celery", "worker", *options],
        cwd=FOLDER,
        env={**environment, "RIVAL_QUEUE": pool, "HOME": str(FOLDER)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stand_still(worker.pid)
    try:
        yield worker
    finally:
        go_on(worker.pid)
        family = _family(worker.pid)
        worker.terminate()
        try:
            worker.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            for process in family:
                process.kill()
            worker.wait()


@contextmanager
def awake(*pids: int) -> Iterator[None]:
    """Let processes and their children run for a while."""
    for pid in pids:
        go_on(pid)
    try:
        yield
    finally:
        for pid in reversed(pids):
            stand_still(pid)


def stand_still(pid: int) -> None:
    """Stop a process and its children, so that they take nothing from whoever has the turn."""
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):  # Postgres's helpers come and go
            process.suspend()


def go_on(pid: int) -> None:
    """Let them run again."""
    for process in reversed(_family(pid)):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
