"""What the documentation has its readers type works as it stands, and is answered as shown.

Over processes only, as the documentation says; nothing but the demo origin is fetched.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from fetchwork import Client
from fetchwork_local.stack import Stack
from guide import Example, differences, examples, run
from system import ProcessSystem

STOPPED = "curl: (28) Operation timed out"
SUMMARY = """
import sys
from fetchwork._stack_summary import ready_text
from fetchwork_local.stack import Stack
sys.argv[0] = ".venv/bin/fetchwork"
print(ready_text(Stack().status(), seconds=1, is_detached=True))
"""
"""Says what `make up` says once everything is ready."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: a checkout with its `.venv`."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """Nothing that a reader would not have, but the folder of the stack."""
    return {"PATH": os.environ["PATH"], "HOME": str(stack.home.folder), "FETCHWORK_HOME": str(stack.home.folder), "no_proxy": "*"}


async def test_the_guide_is_answered_as_it_shows(repository: Path, folder: Path, environment: dict[str, str]) -> None:
    found = examples((repository / "docs/api.md").read_text(encoding="utf-8"))
    assert len(found) >= 14 and sum(bool(example.shown) for example in found) >= 12
    outputs = await run(found, folder, environment)
    answered = [pair for pair in zip(found, outputs, strict=True) if pair[0].shown]
    assert [(example.commands, words) for example, output in answered if (words := differences(example, output))] == []
    faults = [line for output in outputs for line in output.splitlines() if line.startswith("curl:")]
    assert [line[: len(STOPPED)] for line in faults] == [STOPPED], "of the stream alone, which has no end"


async def test_the_first_example_is_answered_as_it_shows(
    stack: Stack, repository: Path, folder: Path, environment: dict[str, str]
) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    [first] = [example for example in examples(text) if "$FETCHWORK_DEMO" in example.commands]
    [output] = await run([first], folder, environment)
    assert differences(first, output) == []
    system = ProcessSystem.of(stack)
    fetch_id = output.partition('"id":"')[2].partition('"')[0]
    async with Client(system.gateway_url, system.api_key) as client:
        await client.wait(fetch_id, wait_seconds=30)
    later = text[text.index(first.shown) :].partition("```json\n")[2].partition("```")[0]
    ask = f'curl -sS "$FETCHWORK_URL/v1/fetches/{fetch_id}" -H "Authorization: Bearer $FETCHWORK_API_KEY"'
    finished = Example(commands=f'eval "$(.venv/bin/fetchwork env)"\n{ask}', language="json", shown=later)
    assert differences(finished, (await run([finished], folder, environment))[0]) == []


async def test_what_to_try_next_is_what_works(stack: Stack, folder: Path, environment: dict[str, str]) -> None:
    summary = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUMMARY, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(summary.communicate(), 30)
    first, last = said.decode().partition("Try next:")[2].split("\n\n")[1].split("-d", 1)
    data, _, command = last.partition("\n")
    posted, fetched = await run([Example(commands=f"{first}-d{data}"), Example(commands=command)], folder, environment)
    assert json.loads(posted)["status"] == "queued"
    assert f"succeeded  {stack.status().demo}" in fetched
