"""`fetchwork cancel` and `fetchwork retry`: end a fetch, or do it once more."""

import json
from typing import Annotated

import typer

from fetchwork._ask import ask
from fetchwork._models import Fetch
from fetchwork._results import fetch_document
from fetchwork._terminal import say

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a fetch.")]
AsJson = Annotated[bool, typer.Option("--json", help="The fetch as one JSON object.")]


def cancel(fetch_id: Id, as_json: AsJson = False) -> None:
    """Cancel a fetch, also one that is running. Doing it again changes nothing.

    Exit codes: 0 cancelled, 3 unreachable or not authorized, 4 no such fetch, 7 it had ended otherwise.
    """
    _show(ask(lambda client: client.cancel(fetch_id)), as_json=as_json)


def retry(fetch_id: Id, as_json: AsJson = False) -> None:
    """Fetch once more what a finished fetch asked for; prints the id of the new fetch.

    Exit codes: 0 accepted, 3 unreachable or not authorized, 4 no such fetch, 7 it is not finished yet.
    """
    fetch = ask(lambda client: client.retry(fetch_id))
    _show(fetch, as_json=as_json)
    say(f"To wait for it: fetchwork fetch {fetch.id}")


def _show(fetch: Fetch, *, as_json: bool) -> None:
    print(json.dumps(fetch_document(fetch)) if as_json else fetch.id)
