"""Generated requests: the whole API of a stack of its own, some hundreds of them here; `make fuzz-api` makes thousands.

The seed is fixed: a change is blamed for what it breaks and not for what a new seed would have found before it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sealed import refuse_strangers

SEED = 1
EXAMPLES = 6
CASES = 300
PHASES = "examples,fuzzing,stateful"
TIMEOUT_SECONDS = 300.0
DIAL = """
import asyncio, socket, sys, uvloop
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
async def dial():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, server.getsockname())
    await asyncio.get_running_loop().run_in_executor(None, socket.getaddrinfo, "localhost", None)
uvloop.run(dial())
print(*seen)
"""


def test_nothing_is_found(repository: Path) -> None:
    program = repository / "tests/fuzz/run.py"
    command = [sys.executable, str(program), "--seed", str(SEED), "--examples", str(EXAMPLES), "--phases", PHASES]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    generated = re.search(r"([0-9]+) generated", tried.stdout)
    assert generated is not None and int(generated[1]) >= CASES, tried.stdout


@pytest.mark.parametrize(("event", "arguments"), [
    ("socket.getaddrinfo", ("a.test", 80, 0, 0, 0)), ("socket.gethostbyname", ("a.test",)),
    ("socket.connect", (None, ("192.0.2.1", 80))), ("socket.connect", (None, ("2001:db8::1", 80, 0, 0))),
    ("socket.sendto", (None, ("192.0.2.53", 53))),
])  # fmt: skip
def test_what_is_generated_reaches_no_stranger(event: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(OSError, match="strangers"):
        refuse_strangers(event, arguments)


@pytest.mark.parametrize(("event", "arguments"), [
    ("socket.getaddrinfo", ("localhost", 80, 0, 0, 0)), ("socket.getaddrinfo", (None, 80, 0, 0, 0)),
    ("socket.connect", (None, ("127.8.0.1", 80))), ("socket.connect", (None, ("::1", 80, 0, 0))),
    ("socket.connect", (None, "/tmp/socket")), ("socket.bind", (None, ("0.0.0.0", 0))),
])  # fmt: skip
def test_the_stack_reaches_itself(event: str, arguments: tuple[object, ...]) -> None:
    refuse_strangers(event, arguments)


def test_fetchers_dial_and_look_up_where_the_seal_sees_it() -> None:
    tried = subprocess.run([sys.executable, "-c", DIAL], capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    assert tried.stdout.split() == ["socket.connect", "socket.getaddrinfo"]
