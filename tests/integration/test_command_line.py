"""The command line against the running stack, as a user at a terminal would call it.

Over processes only, so it takes `stack` and not `system`: most of these verbs are about the embedded stack itself, and the
others find the gateway through that stack's folder. What they send and read is the same API either way.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fetchwork_local.stack import Stack
from origin import Origin
from system import ProcessSystem
from website import noise, page

COMMAND = str(Path(sys.executable).with_name("fetchwork"))


@pytest.fixture(scope="module")
async def origin(stack: Stack) -> AsyncIterator[Origin]:
    """The website from hell, as fetchers of this stack reach it."""
    async with ProcessSystem.of(stack).origin() as served:
        yield served


async def _call(stack: Stack, *arguments: str) -> tuple[int | None, str, str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(stack.home.folder), "FETCHWORK_HOME": str(stack.home.folder)}
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, messages = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), messages.decode()


async def test_fetch_prints_one_object_and_data_goes_to_stdout_only(stack: Stack, origin: Origin) -> None:
    code, output, messages = await _call(stack, "fetch", f"{origin.url}/page/cli", "--json")
    assert code == 0, messages
    document = json.loads(output)
    assert document["status"] == "succeeded" and document["response"]["size_bytes"] == len(page("cli"))


async def test_the_content_of_one_fetch_goes_to_a_file(stack: Stack, origin: Origin, tmp_path: Path) -> None:
    file = tmp_path / "body"
    code, _, messages = await _call(stack, "fetch", f"{origin.url}/bytes/5000", "--output", str(file))
    assert code == 0, messages
    assert file.read_bytes() == noise(5000)


async def test_a_fetch_that_fails_has_its_own_exit_code_and_says_why(stack: Stack, origin: Origin) -> None:
    code, output, messages = await _call(stack, "fetch", "http://127.0.0.1:1/", f"{origin.url}/page/cli2")
    assert code == 5
    assert "refused_address" in output + messages


async def test_status_names_every_process(stack: Stack) -> None:
    code, output, _ = await _call(stack, "status", "--json")
    status = json.loads(output)
    assert code == 0 and status["ready"] is True
    assert set(status["processes"]) == {"gateway", "fetcher", "store", "postgres", "events", "broker"}
    assert set(status["metrics"]) == {"gateway", "fetcher", "store"}
    assert all(isinstance(pid, int) for pid in status["processes"].values())


async def test_env_gives_a_shell_what_it_needs(stack: Stack) -> None:
    code, output, _ = await _call(stack, "env")
    assert code == 0
    names = [line.removeprefix("export ").partition("=")[0] for line in output.splitlines()]
    assert names == ["FETCHWORK_URL", "FETCHWORK_API_KEY", "FETCHWORK_DEMO"]
