"""What became of each target of `fetchwork fetch`: as a line for people, as JSON for programs, as an exit code for scripts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from fetchwork._errors import NotFound, ProblemError
from fetchwork._exit_codes import ExitCode
from fetchwork._models import Fetch
from fetchwork._terminal import harmless


@dataclass(slots=True, kw_only=True)
class Result:
    """One target: the fetch as last seen, or why the gateway refused it, or neither when it was not asked."""

    target: str
    fetch: Fetch | None = None
    problem: ProblemError | None = None


def exit_code_of(results: Sequence[Result], *, has_waited: bool) -> ExitCode:
    """The most telling code: still pending, then not found, then failed."""
    fetches = [result.fetch for result in results if result.fetch]
    if has_waited and any(not fetch.is_finished for fetch in fetches):
        return ExitCode.TIMED_OUT
    if any(isinstance(result.problem, NotFound) for result in results):
        return ExitCode.NOT_FOUND
    if any(result.problem for result in results) or any(fetch.is_finished and not fetch.is_succeeded for fetch in fetches):
        return ExitCode.SOME_FAILED
    return ExitCode.SUCCESS


def show(results: Sequence[Result], *, as_json: bool, file: TextIO) -> None:
    """Print one line a target, in the order they were given."""
    for result in results:
        line = json.dumps(_document(result)) if as_json else _line(result)
        print(line, file=file)


def fetch_document(fetch: Fetch) -> dict[str, Any]:
    """A fetch as JSON shows it."""
    return fetch.model_dump(mode="json", by_alias=True, exclude_none=True)


def fetch_line(fetch: Fetch) -> str:
    """A fetch in one line, harmless to a terminal."""
    return harmless(f"{fetch.status:<10} {fetch.url}  {_facts(fetch)}  {fetch.id}")


def _document(result: Result) -> dict[str, Any]:
    if result.fetch is not None:
        return fetch_document(result.fetch)
    problem = result.problem
    if problem is None:
        return {"url": result.target, "status": "unsent"}
    members = ("type", "title", "status", "detail", "trace_id", "errors")
    return {"url": result.target, "status": "refused", "problem": {name: getattr(problem, name) for name in members}}


def _line(result: Result) -> str:
    if result.problem is not None:
        return harmless(f"{'refused':<10} {result.target}  {result.problem}")
    return fetch_line(result.fetch) if result.fetch else harmless(f"{'unsent':<10} {result.target}")


def _facts(fetch: Fetch) -> str:
    if fetch.response is not None:
        return f"{fetch.response.status} {fetch.response.media_type or '-'} {fetch.response.size_bytes:,} bytes{_origin(fetch)}"
    if fetch.error is not None:
        return f"{fetch.error.type}: {fetch.error.detail}"
    return f"waiting for {fetch.waiting.reason}" if fetch.waiting else "-"


def _origin(fetch: Fetch) -> str:
    """Where the response came from when no exchange of the fetch's own brought it."""
    served_by = fetch.served_by
    if served_by is None or served_by.kind == "live":
        return ""
    return f" ({served_by.kind}, {served_by.age_seconds:.0f} s old)"
