"""The stack of the compose file really runs: it fetches its demo, and its walls hold from inside.

That it does what the embedded stack does, and loses nothing when something dies, is in tests/integration.
"""

import json
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from compose_project import API_KEY, Compose
from fetchwork_local.waiting import wait_until

WAIT_SECONDS = 30.0
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


def _call(compose: Compose, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = Request(
        f"{compose.gateway_url}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _finished(compose: Compose, fetch_id: str) -> dict[str, Any]:
    """The fetch once it is terminal; outages on the way are waited out."""

    def look() -> dict[str, Any] | None:
        try:
            fetch = _call(compose, f"/v1/fetches/{fetch_id}")
        except (URLError, OSError):
            return None
        return fetch if fetch["status"] in ("succeeded", "failed") else None

    return wait_until(look, timeout_seconds=WAIT_SECONDS, interval_seconds=0.2)


def test_a_fetch_succeeds(running: Compose) -> None:
    for url, size in ((f"http://{running.demo_address}:8000/bytes/5000", 5000), ("http://demo:8000/bytes/3000000", 3_000_000)):
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
        ["XADD", "fetchwork:v1:stream:feed", "*", "event", "forged"],
        ["HSET", "fetchwork:v1:key-finished", "key", "1000"],
        ["SET", "fetchwork:v1:key-accepted", "0"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_gateway_can_only_promise(running: Compose, command: list[str]) -> None:
    assert running.python("gateway", TRY_EVENTS.format(command=command)) == NO_PERMISSION


@pytest.mark.parametrize(
    "command",
    [["XRANGE", "fetchwork:v1:stream:fetch.accepted", "-", "+"], ["GET", "fetchwork:v1:ticket:any"]],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_fetcher_cannot_read_what_others_keep(running: Compose, command: list[str]) -> None:
    assert running.python("fetcher", TRY_EVENTS.format(command=command)) == NO_PERMISSION


@pytest.mark.parametrize(("service", "host", "port"), [("fetcher", "postgres", 5432), ("gateway", "postgres", 5432)])
def test_only_the_store_reaches_the_database(running: Compose, service: str, host: str, port: int) -> None:
    assert running.python("store", TRY_CONNECTING.format(host=host, port=port)) == "open"
    assert running.python(service, TRY_CONNECTING.format(host=host, port=port)) == "closed"


@pytest.mark.parametrize("statement", ["CREATE TABLE intruder (id int)", "DROP TABLE fetches", "TRUNCATE fetches"])
def test_the_store_cannot_change_the_schema(running: Compose, statement: str) -> None:
    assert running.python("store", TRY_DATABASE.format(statement=statement)) == "InsufficientPrivilegeError"


@pytest.mark.parametrize(
    "statement", ["DELETE FROM api_keys", "UPDATE operator_log SET actor = 'nobody'", "DELETE FROM audit_log"]
)
def test_the_store_cannot_forget_keys_or_history(running: Compose, statement: str) -> None:
    assert running.python("store", TRY_DATABASE.format(statement=statement)) == "InsufficientPrivilegeError"


@pytest.mark.parametrize("service", ["gateway", "fetcher", "store"])
def test_no_service_is_root_or_can_write(running: Compose, service: str) -> None:
    program = "import os; print(os.getuid(), os.access('/opt/fetchwork', os.W_OK), os.statvfs('/').f_flag & os.ST_RDONLY)"
    assert running.python(service, program) == "10001 False 1"
