"""`fetchwork list`: the newest fetches that match, a line each."""

import json
from typing import Annotated

import typer

from fetchwork._ask import ask
from fetchwork._client import Client
from fetchwork._results import fetch_document, fetch_line
from fetchwork._terminal import say

LIMIT_DEFAULT = 50

Status = Annotated[str | None, typer.Option("--status", help="queued, running, succeeded, failed, cancelled or expired.")]
Host = Annotated[str | None, typer.Option("--host", help="The host, with its port where that is not the scheme's own.")]
Label = Annotated[str | None, typer.Option("--label", help="A label.")]
BatchId = Annotated[str | None, typer.Option("--batch", metavar="ID", help="The batch that they came with.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
All = Annotated[bool, typer.Option("--all", help="Without a limit.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a fetch, on a line of its own.")]


def list_fetches(
    status: Status = None,
    host: Host = None,
    label: Label = None,
    batch: BatchId = None,
    limit: Limit = LIMIT_DEFAULT,
    all_of_them: All = False,
    as_json: AsJson = False,
) -> None:
    """List fetches, the newest first.

    Exit codes: 0 listed, 2 usage, 3 unreachable or not authorized, 7 refused.
    """

    async def show(client: Client) -> int:
        most = None if all_of_them else limit
        shown = 0
        async for fetch in client.list_fetches(status=status, host=host, label=label, batch_id=batch, limit=most):
            print(json.dumps(fetch_document(fetch)) if as_json else fetch_line(fetch))
            shown += 1
        return shown

    if ask(show) == limit and not all_of_them:
        say(f"These are the newest {limit}; for more: --limit N, or --all")
