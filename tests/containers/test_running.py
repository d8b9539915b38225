"""The stack of the compose file really runs: it fetches, loses nothing when something dies, and its walls hold from inside."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

ENGINE_TIMEOUT_SECONDS = 20
UP_TIMEOUT_SECONDS = 900
"""A first build fetches every wheel."""
WAIT_SECONDS = 90.0
DEMO = "10.213.98.2"
OWN_API_KEY = "a-key-of-the-container-tests"
NO_PERMISSION = "NoPermissionError"

TRY_EVENTS = """
import redis, sys
client = redis.Redis.from_url(open('/run/secrets/fetchwork_events_url').read())
try:
    print(client.execute_command(*{command!r}))
except redis.exceptions.RedisError as error:
    print(type(error).__name__)
"""
TRY_CONNECTING = """
import socket
try:
    socket.create_connection(({host!r}, {port}), 2)
    print('open')
except OSError:
    print('closed')
"""
TRY_DATABASE = """
import asyncio, asyncpg
async def main():
    connection = await asyncpg.connect(open('/run/secrets/fetchwork_database_url').read())
    try:
        await connection.execute({statement!r})
        print('done')
    except asyncpg.PostgresError as error:
        print(type(error).__name__)
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """The `docker compose` command for one project."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it and return what it said."""
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        )

    def python(self, service: str, program: str) -> str:
        """What a Python program prints inside a running service."""
        return self.run("exec", "-T", service, "python", "-c", program).stdout.strip()

    def kill(self, service: str) -> None:
        """End a service's first process, as the kernel would when memory runs out; its restart policy applies."""
        container = self.run("ps", "--quiet", service).stdout.split()[0]
        pid = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.Pid}}", container],
            capture_output=True,
            text=True,
            timeout=ENGINE_TIMEOUT_SECONDS,
            check=True,
        ).stdout
        os.kill(int(pid), 9)


def _environment(**own: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FETCHWORK_", "COMPOSE_"))}
    return {**inherited, **own}


@pytest.fixture(scope="session")
def engine(compose: None) -> None:
    """Skips, and says why, where no engine answers or where we may not end a container's process."""
    answer = subprocess.run(
        ["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, timeout=ENGINE_TIMEOUT_SECONDS
    )
    if answer.returncode != 0:
        pytest.skip(f"SKIPPED CONTAINER TESTS: no Docker engine answers: {answer.stderr.strip()[:200]}")


@pytest.fixture(scope="session")
def running(engine: None, repository: Path) -> Iterator[Compose]:
    """The whole stack, built and ready, with two fetchers; afterwards nothing of it is left but its images."""
    compose = Compose(
        folder=repository,
        environment=_environment(
            COMPOSE_PROJECT_NAME=f"fetchwork-tests-{os.getpid()}",
            FETCHWORK_PORT=str(_free_port()),
            FETCHWORK_API_KEY=OWN_API_KEY,
            FETCHWORK_DEMO_SUBNET="10.213.98.0/26",
            FETCHWORK_DEMO_ADDRESS=DEMO,
        ),
    )
    try:
        up = compose.run(
            "up", "--build", "--detach", "--wait", "--scale", "fetcher=2", timeout=UP_TIMEOUT_SECONDS, check=False
        )
        logs = compose.run("logs", "--tail", "5", "--no-color", check=False).stdout if up.returncode else ""
        assert up.returncode == 0, f"{up.stderr[-2000:]}\n{logs[-6000:]}"
        yield compose
    finally:
        compose.run("down", "--volumes", "--timeout", "2", check=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _call(compose: Compose, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = Request(
        f"http://127.0.0.1:{compose.environment['FETCHWORK_PORT']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {OWN_API_KEY}", "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _finished(compose: Compose, fetch_id: str) -> dict[str, Any]:
    """The fetch once it is terminal; outages on the way are waited out."""
    ends_at = time.monotonic() + WAIT_SECONDS
    fetch: dict[str, Any] = {}
    while time.monotonic() < ends_at:
        try:
            fetch = _call(compose, f"/v1/fetches/{fetch_id}")
        except (URLError, OSError):
            fetch = {"status": "unreadable"}
        if fetch["status"] in ("succeeded", "failed"):
            return fetch
        time.sleep(0.2)
    raise AssertionError(f"not finished in {WAIT_SECONDS:g} s: {fetch}")


def test_a_fetch_succeeds(running: Compose) -> None:
    for url, size in ((f"http://{DEMO}:8000/bytes/5000", 5000), ("http://demo:8000/bytes/3000000", 3_000_000)):
        promised = _call(running, "/v1/fetches", {"url": url})
        fetch = _finished(running, promised["id"])
        assert (fetch["status"], fetch["response"]["size_bytes"]) == ("succeeded", size)


def test_our_own_servers_are_no_targets(running: Compose) -> None:
    promised = _call(running, "/v1/fetches", {"url": "http://events:6379/"})
    assert _finished(running, promised["id"])["error"]["type"] == "refused_address"


@pytest.mark.parametrize(
    "command",
    [
        ["FLUSHALL"],
        ["CONFIG", "GET", "*"],
        ["KEYS", "*"],
        ["DEL", "fetchwork:v1:stream:fetch.accepted"],
        ["XTRIM", "fetchwork:v1:stream:fetch.accepted", "MAXLEN", "0"],
        ["XADD", "fetchwork:v1:stream:fetch.attempted", "*", "event", "forged"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_gateway_can_only_promise(running: Compose, command: list[str]) -> None:
    assert running.python("gateway", TRY_EVENTS.format(command=command)) == NO_PERMISSION


def test_the_fetcher_cannot_read_what_is_promised(running: Compose) -> None:
    command = ["XRANGE", "fetchwork:v1:stream:fetch.accepted", "-", "+"]
    assert running.python("fetcher", TRY_EVENTS.format(command=command)) == NO_PERMISSION


@pytest.mark.parametrize(("service", "host", "port"), [("fetcher", "postgres", 5432), ("gateway", "postgres", 5432)])
def test_only_the_store_reaches_the_database(running: Compose, service: str, host: str, port: int) -> None:
    assert running.python("store", TRY_CONNECTING.format(host=host, port=port)) == "open"
    assert running.python(service, TRY_CONNECTING.format(host=host, port=port)) == "closed"


@pytest.mark.parametrize("statement", ["CREATE TABLE intruder (id int)", "DROP TABLE fetches", "TRUNCATE fetches"])
def test_the_store_cannot_change_the_schema(running: Compose, statement: str) -> None:
    assert running.python("store", TRY_DATABASE.format(statement=statement)) == "InsufficientPrivilegeError"


@pytest.mark.parametrize("service", ["gateway", "fetcher", "store"])
def test_no_service_is_root_or_can_write(running: Compose, service: str) -> None:
    program = "import os; print(os.getuid(), os.access('/opt/fetchwork', os.W_OK), os.statvfs('/').f_flag & os.ST_RDONLY)"
    assert running.python(service, program) == "10001 False 1"


@pytest.mark.parametrize("victim", ["gateway", "fetcher", "store", "events", "broker", "postgres"])
def test_a_death_loses_nothing(running: Compose, victim: str) -> None:
    """Half of the fetches are under way when it happens; it comes back by itself."""
    urls = [f"http://demo:8000/{path}" for path in ("slow?seconds=1", "bytes/1000", "bytes/400000")] * 3
    promised = [_call(running, "/v1/fetches", {"url": url})["id"] for url in urls]
    running.kill(victim)
    assert {_finished(running, fetch_id)["status"] for fetch_id in promised} == {"succeeded"}
