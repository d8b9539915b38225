"""The same responses to curl and to us: the same status and the same bytes, or a difference that is meant and written down."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import zstandard
from differential_cases import Case, Difference, all_cases

from fetcher.perform import perform

DECISION = Path(__file__).parents[3] / "docs/decisions/0016-refused-on-purpose.md"
CURL = "--silent --compressed --location --max-redirs 5 --max-time 10 --noproxy * --interface 127.0.0.1".split()
"""From a loopback address no packet leaves this machine, whatever a redirect says."""
CURL_PARALLEL = "40"


@dataclass(frozen=True)
class Answer:
    """What a client made of a case: None and no bytes when it refused."""

    status: int | None
    body: bytes = b""
    reason: str = ""


class Origin:
    """Answers each case's paths with its raw bytes, on two addresses, and closes."""

    def __init__(self, cases: list[Case]) -> None:
        self.cases = cases
        self.here = self.other = ""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", request)
            await reader.readexactly(int(length.group(1)) if length else 0)
            writer.write(self._reply(request.split(b" ", 2)[1].decode(), method=request.split(b" ", 1)[0]))
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _reply(self, path: str, *, method: bytes) -> bytes:
        number, _, rest = path.removeprefix("/").partition("/")
        replies = self.cases[int(number.partition("?")[0])].replies
        key = rest.partition("?")[0].partition("#")[0]
        if key == "" and "?next" in path:
            key = "*"
        raw = replies.get(key, replies.get("*", b""))
        if key == "" and "*" in replies and "?next" not in path:
            raw = replies[""]
        for name, value in ((b"ORIGIN", self.here), (b"OTHER", self.other), (b"CASE", number)):
            raw = raw.replace(name, value.encode())
        if method == b"HEAD":
            raw = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return raw

    def url(self, number: int) -> str:
        return f"http://{self.here}/{number}/"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """All cases, served."""
    playing = Origin(all_cases())
    servers = [await asyncio.start_server(playing.play, address, 0) for address in ("127.0.0.1", "127.0.0.2")]
    playing.here, playing.other = (":".join(map(str, server.sockets[0].getsockname())) for server in servers)
    yield playing
    for server in servers:
        server.close()


async def _ask_curl(origin: Origin, folder: Path) -> list[Answer]:
    """One curl for all of it; its configuration file has a section for each case."""
    sections = []
    for number, case in enumerate(origin.cases):
        lines = [*_options(CURL), f'url = "{origin.url(number)}"', f'output = "{folder / str(number)}"']
        lines.append(f'write-out = "{number} %{{exitcode}} %{{http_code}}\\n"')
        if case.method == "HEAD":
            lines.append("head")
        elif case.body is None and case.method != "GET":
            lines.append(f'request = "{case.method}"')
        elif case.body is not None:
            lines.append(f'data = "{case.body}"')
            if case.method != "POST":
                lines.append(f'request = "{case.method}"')
        sections.append("\n".join(lines))
    config = folder / "config"
    config.write_text("\nnext\n".join(sections))
    process = await asyncio.create_subprocess_exec(
        "curl", "-q", "--parallel", "--parallel-max", CURL_PARALLEL, "--config", str(config),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    output, _ = await process.communicate()
    answers = {int(row[0]): row for row in (line.split() for line in output.decode().splitlines()) if len(row) == 3}
    assert len(answers) == len(origin.cases), "curl did not ask for all cases"
    return [_curl_answer(answers[number], folder / str(number), case=case) for number, case in enumerate(origin.cases)]


def _options(arguments: list[str]) -> list[str]:
    lines: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            lines.append(argument.removeprefix("--"))
        else:
            lines[-1] += f' = "{argument}"'
    return lines


def _curl_answer(row: list[str], file: Path, *, case: Case) -> Answer:
    _, exit_code, status = row
    if exit_code != "0":
        return Answer(None, reason=f"curl: {exit_code}")
    return Answer(int(status), b"" if case.method == "HEAD" or not file.exists() else file.read_bytes())


async def _ask_us(origin: Origin, *, client: Any, command: Any) -> list[Answer]:
    slots = asyncio.Semaphore(40)

    async def ask(number: int, case: Case) -> Answer:
        asked = command(origin.url(number), method=case.method, body=case.body, timeout_seconds=10)
        async with slots:
            attempted = await perform(asked, client=client)
        outcome = attempted.outcome
        if outcome.response is None:
            return Answer(None, reason=outcome.error.type)
        return Answer(outcome.response.status, zstandard.decompress(attempted.body) if attempted.body else b"")

    return await asyncio.gather(*(ask(number, case) for number, case in enumerate(origin.cases)))


def _is_same(ours: Answer, curls: Answer) -> bool:
    return (ours.status, ours.body) == (curls.status, curls.body)


async def test_every_response_is_curls_or_differs_on_purpose(origin: Origin, make_client, command, tmp_path: Path) -> None:
    if which("curl") is None:
        pytest.skip("there is no curl on this machine to compare with")
    curls = await _ask_curl(origin, tmp_path)
    ours = await _ask_us(origin, client=make_client(), command=command)
    counts: Counter[str] = Counter()
    wrong = []
    for case, our, their in zip(origin.cases, ours, curls, strict=True):
        is_same = _is_same(our, their)
        counts["same" if is_same and our.status else "both refuse" if is_same else str(case.differs)] += 1
        if is_same != (case.differs is None):
            wrong.append(f"{case.name}: {case.differs}\n    ours  {_show(our)}\n    curls {_show(their)}")
    print(f"\n{len(origin.cases)} responses:", *(f"  {count:4d} {name}" for name, count in counts.most_common()), sep="\n")
    assert not wrong, f"{len(wrong)} of {len(origin.cases)}:\n" + "\n".join(wrong)
    assert len(origin.cases) >= 250 and counts["same"] >= 200


def test_every_difference_is_written_down() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", DECISION.read_text(), re.MULTILINE))
    assert rows == set(Difference) == {case.differs for case in all_cases() if case.differs}


def _show(answer: Answer) -> str:
    return f"{answer.status or answer.reason} {len(answer.body)} bytes {answer.body[:40]!r}"
