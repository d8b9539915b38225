"""`fetchwork batch`: submit a file of URLs, wait for all, save what came back. Doing it again resumes instead of doubling."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from fetchwork._ask import ask
from fetchwork._batch_contents import BatchContents
from fetchwork._batch_file import BatchFile, LineTooLong, open_file
from fetchwork._batch_models import Batch, BatchError, BatchProgress
from fetchwork._client import Client
from fetchwork._exit_codes import ExitCode
from fetchwork._gateway_address import find_gateway
from fetchwork._models import Fetch
from fetchwork._progress import Pace, progress
from fetchwork._results import fetch_line
from fetchwork._terminal import give_up, harmless, say

WAIT_DEFAULT_SECONDS = 24 * 3600.0
SHOWN = 20
"""Refused lines and unsuccessful fetches that are shown to people; `--json` and `fetchwork list` have all."""
UNSUCCESSFUL = ("failed", "expired", "cancelled")
UPLOAD_HINT = "What was accepted is fetched. Run the same command again{}: it goes on, and doubles nothing."

File = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="A URL, or a JSON object with its options, on each line. - is standard input."),
]
Labels = Annotated[list[str] | None, typer.Option("--label", help="A label for all of its fetches; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="The batch as one JSON object.")]
Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Save the contents and fetches.ndjson here.")]
Detach = Annotated[bool, typer.Option("--detach", help="Submit only; print the id of the batch.")]
Again = Annotated[bool, typer.Option("--again", help="Fetch everything anew, although the same file was submitted before.")]
Key = Annotated[str | None, typer.Option("--idempotency-key", help="Name the submission; the default is derived from the file.")]
Resume = Annotated[str | None, typer.Option("--resume", metavar="ID", help="Wait for this batch instead of submitting one.")]
WaitSeconds = Annotated[float, typer.Option("--wait-seconds", min=0, help="How long to wait.")]


def batch(
    file: File = None,
    label: Labels = None,
    as_json: AsJson = False,
    output: Output = None,
    detach: Detach = False,
    again: Again = False,
    idempotency_key: Key = None,
    resume: Resume = None,
    wait_seconds: WaitSeconds = WAIT_DEFAULT_SECONDS,
) -> None:
    """Fetch a file of URLs, wait for all of them and show what came of them.

    The same file with the same labels is the same batch: after a broken connection, Ctrl-C or a reboot run the same command
    again. Ctrl-C stops the waiting, not the batch.

    Exit codes: 0 all succeeded (any HTTP status is a success), 2 usage, 3 unreachable or not authorized, 4 no such batch,
    5 some fetches failed or some lines were refused, 6 timed out waiting, 7 refused as a whole, 130 interrupted.
    """
    if (file is None) == (resume is None):
        raise typer.BadParameter("Give either FILE or --resume ID.")
    if again and idempotency_key:
        raise typer.BadParameter("--again makes an idempotency key of its own; leave one of the two out.")
    if detach and (output or resume):
        raise typer.BadParameter("--detach does not wait, and so takes neither --output nor --resume.")
    submitted = _submit(file, label or [], again=again, key=idempotency_key) if file else None
    if submitted is not None and detach:
        print(submitted.model_dump_json() if as_json else submitted.id)
        raise typer.Exit(int(ExitCode.SOME_FAILED if submitted.rejected else ExitCode.SUCCESS))
    batch_id = submitted.id if submitted else str(resume)
    ended = _wait(batch_id, output, wait_seconds=wait_seconds)
    if submitted is None:
        _say_refused(ended.errors, ended.rejected)
    missing = _save(batch_id, output) if output else 0
    _show(ended, submitted, as_json=as_json)
    raise typer.Exit(int(ExitCode.SOME_FAILED if ended.unsuccessful or ended.rejected or missing else ExitCode.SUCCESS))


def _submit(file: Path, labels: Sequence[str], *, again: bool, key: str | None) -> Batch:
    """Send the lines; an answer means that all good ones are promised."""
    try:
        lines = BatchFile(open_file(file), labels=labels)
        key = key or (str(uuid4()) if again else lines.key(find_gateway().url.rstrip("/")))
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}.") from error
    hint = UPLOAD_HINT.format(f", with --idempotency-key {key} instead of --again" if again else "")
    with progress() as show:
        lines.on_sent = lambda sent_bytes, sent_lines: show(sent_bytes, lines.size_bytes, f"{sent_lines:,} lines sent")
        try:
            submitted = ask(lambda client: client.submit_batch(lines, idempotency_key=key), hint=hint)
        except LineTooLong as fault:
            give_up(f"line {fault.number} of {file} is too long to be one. {hint}", ExitCode.USAGE)
    say(f"batch {submitted.id}: {submitted.accepted:,} accepted, {submitted.rejected:,} refused")
    if submitted.is_replay:
        say("The same lines were submitted before: this is that batch. To fetch them anew: --again")
    _say_refused(submitted.errors, submitted.rejected)
    return submitted


def _wait(batch_id: str, output: Path | None, *, wait_seconds: float) -> BatchProgress:
    saving = f" --output {shlex.quote(str(output))}" if output else ""
    hint = f"The batch goes on. To wait for it: fetchwork batch --resume {batch_id}{saving}"

    async def wait(client: Client) -> BatchProgress:
        pace = Pace()
        with progress() as show:

            def on_progress(seen: BatchProgress) -> None:
                text = pace.text(done=seen.done, total=seen.total, failed=seen.unsuccessful, now=time.monotonic())
                show(seen.done, seen.total, text)

            return await client.wait_batch(batch_id, wait_seconds=wait_seconds, on_progress=on_progress)

    return ask(wait, hint=hint)


def _save(batch_id: str, folder: Path) -> int:
    """Save all contents; the answer counts those that are gone."""
    contents = BatchContents(folder)
    hint = f"To go on saving: fetchwork batch --resume {batch_id} --output {shlex.quote(str(folder))}"
    ask(lambda client: contents.save(client, batch_id), hint=hint)
    if contents.missing:
        say(f"{contents.missing:,} contents are not kept any more.")
    return contents.missing


def _show(ended: BatchProgress, submitted: Batch | None, *, as_json: bool) -> None:
    """The batch on stdout: one object, or the unsuccessful fetches and a line about all."""
    if as_json:
        document: dict[str, Any] = ended.model_dump(mode="json")
        if submitted is not None:
            document["errors"] = [error.model_dump(mode="json") for error in submitted.errors]
        print(json.dumps(document))
        return
    counts = ended.counts.model_dump()
    for status in UNSUCCESSFUL:
        if counts[status]:
            _show_fetches(ended.id, status, counts[status])
    words = [f"{count:,} {name}" for name, count in {**counts, "refused": ended.rejected}.items() if count]
    print(f"batch {ended.id}: {', '.join(words) or 'empty'}")


def _show_fetches(batch_id: str, status: str, count: int) -> None:
    async def some(client: Client) -> list[Fetch]:
        return [fetch async for fetch in client.list_fetches(batch_id=batch_id, status=status, limit=SHOWN)]

    for fetch in ask(some):
        print(fetch_line(fetch))
    if count > SHOWN:
        say(f"{count - SHOWN:,} more are {status}: fetchwork list --batch {batch_id} --status {status} --all")


def _say_refused(errors: Sequence[BatchError], count: int) -> None:
    for error in errors[:SHOWN]:
        say(harmless(f"line {error.line}: {error.reason}"))
    if count > SHOWN:
        say(f"{count - min(SHOWN, len(errors)):,} more lines were refused; --json has them.")
