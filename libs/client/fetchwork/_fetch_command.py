"""`fetchwork fetch`: submit URLs, wait for them, show what came back. Results go to stdout, everything else to stderr."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fetchwork._client import Client
from fetchwork._errors import FetchworkError
from fetchwork._exit_codes import ExitCode, code_of
from fetchwork._gateway_address import find_gateway
from fetchwork._results import Result, exit_code_of, show
from fetchwork._run import Run
from fetchwork._terminal import counting, give_up, say

WAIT_DEFAULT_SECONDS = 120.0
STDOUT = Path("-")

Targets = Annotated[list[str], typer.Argument(metavar="URL...", help="What to fetch. The id of a fetch waits for that one.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a fetch, on a line of its own.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write the content of a single fetch to this file; - is stdout.")]
TimeoutSeconds = Annotated[float | None, typer.Option("--timeout-seconds", min=0.1, help="Deadline of one attempt.")]
WaitSeconds = Annotated[float, typer.Option("--wait-seconds", min=0, help="How long to wait for all of them together.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Submit only; print the ids.")]
Method = Annotated[str | None, typer.Option("--method", help="The HTTP method; without one GET, or POST with --data.")]
Data = Annotated[str | None, typer.Option("--data", help="The body to send: text, or the bytes of a file as @FILE.")]
Headers = Annotated[list[str] | None, typer.Option("--header", metavar="NAME: VALUE", help="A request header; repeatable.")]
MaxAge = Annotated[float | None, typer.Option("--max-age", min=0, help="Accept a stored response of so many seconds.")]
IgnoreRobots = Annotated[bool, typer.Option("--ignore-robots", help="Do not ask robots.txt; for hosts of your own.")]


def fetch(
    targets: Targets,
    as_json: AsJson = False,
    output: Output = None,
    timeout_seconds: TimeoutSeconds = None,
    wait_seconds: WaitSeconds = WAIT_DEFAULT_SECONDS,
    no_wait: NoWait = False,
    method: Method = None,
    data: Data = None,
    header: Headers = None,
    max_age: MaxAge = None,
    ignore_robots: IgnoreRobots = False,
) -> None:
    """Fetch URLs, wait for them and show what came back.

    Exit codes: 0 all succeeded (any HTTP status is a success), 2 usage, 3 unreachable or not authorized, 4 not found,
    5 some failed, 6 timed out waiting, 130 interrupted.
    """
    if output and (len(targets) > 1 or no_wait):
        raise typer.BadParameter("--output takes a single URL, and waits for it.")
    request = {
        "timeout_seconds": timeout_seconds,
        "method": method.upper() if method else ("POST" if data is not None else None),
        "body": _body(data),
        "headers": _headers(header or []),
        "max_age_seconds": max_age,
        "robots": "ignore" if ignore_robots else None,
    }
    address = find_gateway()
    run = Run(targets, request=request, wait_seconds=wait_seconds)
    code = ExitCode.SUCCESS
    try:
        asyncio.run(_perform(run, Client(address.url, address.api_key), output=output, is_waiting=not no_wait))
    except FetchworkError as error:
        code = code_of(error)
        say(f"error: {error}")
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    if no_wait and not as_json:
        print(*(result.fetch.id for result in run.results if result.fetch), sep="\n")
    else:
        show(run.results, as_json=as_json, file=sys.stderr if output == STDOUT else sys.stdout)
    _tell_how_to_resume(run.results)
    raise typer.Exit(int(code or exit_code_of(run.results, has_waited=not no_wait)))


def _body(data: str | None) -> str | bytes | None:
    """The argument itself, or with @ in front the bytes of that file."""
    if data is None or not data.startswith("@"):
        return data
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"--data: {data[1:]} cannot be read: {error.strerror}.") from error


def _headers(lines: list[str]) -> dict[str, Any] | None:
    pairs = [line.partition(":") for line in lines]
    if not all(colon for _, colon, _ in pairs):
        raise typer.BadParameter("--header takes NAME: VALUE.")
    return {name.strip(): value.strip() for name, _, value in pairs} or None


async def _perform(run: Run, client: Client, *, output: Path | None, is_waiting: bool) -> None:
    async with client:
        await run.submit(client)
        if not is_waiting:
            return
        with counting(len(run.results)) as count:
            await run.wait(client, on_done=count)
        fetch = run.results[0].fetch
        if output and fetch and fetch.is_succeeded:
            has_body = fetch.response is not None and fetch.response.digest is not None
            _write(output, await client.content(fetch.id) if has_body else b"")


def _write(output: Path, content: bytes) -> None:
    if output == STDOUT:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        give_up(f"{output} cannot be written: {error.strerror}.", ExitCode.UNEXPECTED)


def _tell_how_to_resume(results: list[Result]) -> None:
    pending = [result.fetch.id for result in results if result.fetch and not result.fetch.is_finished]
    if pending:
        say(f"{len(pending)} not finished yet; they go on. To wait for them: fetchwork fetch {' '.join(pending)}")
