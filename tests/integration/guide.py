"""Documentation as its reader meets it: its shell blocks, run in order in one shell, and the answers that it shows below them.

An answer agrees when it has the status, the headers and the members that are shown, with values of the same kind. `…` stands for
members that are not shown; where it is missing there are no others.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_SECONDS = 60
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATOR = "\N{INFORMATION SEPARATOR TWO}"
REST = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Commands for a shell, and the answer that is shown below them: its language and text, empty where none is."""

    commands: str
    language: str = ""
    shown: str = ""


def examples(text: str) -> list[Example]:
    """The shell blocks of a page, in order."""
    blocks: list[tuple[str, str]] = [*BLOCK.findall(text), ("", "")]
    found = []
    for (language, commands), (below, shown) in zip(blocks, blocks[1:], strict=False):
        if language == "sh":
            is_answer = below in ("http", "json", "text")
            found.append(Example(commands=commands, language=below if is_answer else "", shown=shown if is_answer else ""))
    return found


async def run(found: Sequence[Example], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """What each example wrote to stdout and stderr, all in one shell."""
    script = "exec 2>&1\n" + f"\nprintf '{SEPARATOR}'\n".join(example.commands for example in found)
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", script, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(RUN_SECONDS):
        output, _ = await shell.communicate()
    return output.decode().split(SEPARATOR)


def differences(example: Example, output: str) -> list[str]:
    """What is not as shown, in words."""
    if example.language == "http":
        return _http_differences(example.shown, output)
    if example.language == "json":
        return _body_differences(example.shown, output)
    return _stream_differences(example.shown, output)


def _http_differences(shown: str, output: str) -> list[str]:
    (head, _, body), (real_head, _, real_body) = shown.partition("\n\n"), output.replace("\r\n", "\n").partition("\n\n")
    (status, *headers), (real_status, *real_headers) = head.splitlines(), real_head.splitlines()
    names, real_names = ({line.partition(":")[0].lower() for line in lines} for lines in (headers, real_headers))
    missing = [f"no header {name}" for name in names - real_names]
    wrong = [] if status.split()[:2] == real_status.split()[:2] else [f"{real_status} instead of {status}"]
    return wrong + missing + _body_differences(body, real_body)


def _stream_differences(shown: str, output: str) -> list[str]:
    """Of server-sent events: the first one has the fields that are shown, in their order."""
    fields = [line.partition(": ") for line in shown.splitlines()]
    events = [[line.partition(": ") for line in event.splitlines()] for event in output.split("\n\n")]
    real = next((event for event in events if [name for name, *_ in event] == [name for name, *_ in fields]), None)
    if real is None:
        return [f"no event with the fields that are shown in {output}"]
    return [
        word
        for (name, _, value), (_, _, real_value) in zip(fields, real, strict=True)
        for word in (_body_differences(value, real_value) if name == "data" else [])
    ]


def _body_differences(shown: str, output: str) -> list[str]:
    if not shown.lstrip().startswith("{"):
        return [] if output.strip() == shown.strip() else [f"{output!r} instead of {shown!r}"]
    try:
        return _value_differences(json.loads(shown), json.loads(output), "#")
    except json.JSONDecodeError as error:
        return [f"{error}: {output}"]


def _value_differences(shown: Any, real: Any, place: str) -> list[str]:
    if isinstance(shown, dict) and isinstance(real, dict):
        names = shown.keys() - {REST}
        missing = [f"{place}/{name} is missing" for name in names - real.keys()]
        untold = [] if REST in shown else [f"{place}/{name} is not shown" for name in real.keys() - names]
        inner = [_value_differences(shown[name], real[name], f"{place}/{name}") for name in names & real.keys()]
        return missing + untold + [word for words in inner for word in words]
    if isinstance(shown, list) and isinstance(real, list):
        missing = [f"{place} has {len(real)} items instead of {len(shown)}"] if len(real) < len(shown) else []
        inner = [_value_differences(item, found, f"{place}/{number}") for number, (item, found) in enumerate(zip(shown, real))]
        return missing + [word for words in inner for word in words]
    return [] if type(shown) is type(real) else [f"{place} is {real!r}, and not like {shown!r}"]
