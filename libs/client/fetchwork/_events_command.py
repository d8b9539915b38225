"""`fetchwork events`: the feed, an event a line."""

import json
import shlex
from contextlib import aclosing
from typing import Annotated

import typer

from fetchwork._ask import ask
from fetchwork._client import Client
from fetchwork._event_calls import OLDEST
from fetchwork._event_models import GAP, Event
from fetchwork._exit_codes import ExitCode
from fetchwork._terminal import harmless, say

After = Annotated[
    str | None, typer.Option("--after", metavar="CURSOR", help="Only what came behind it; 0 is before everything that is kept.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")]
Label = Annotated[str | None, typer.Option("--label", help="Only events of fetches with this label.")]
BatchId = Annotated[str | None, typer.Option("--batch", metavar="ID", help="Only events of fetches of this batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object an event, with its cursor, on a line of its own.")]


def events(
    after: After = None, follow: Follow = False, label: Label = None, batch: BatchId = None, as_json: AsJson = False
) -> None:
    """Show what happened, in order: all that is kept, or with --follow what comes from now on.

    At its end it says with which cursor to go on.

    Exit codes: 0 shown, 3 unreachable or not authorized, 7 refused, 130 interrupted.
    """
    place = after

    async def show(client: Client) -> None:
        nonlocal place
        coming = client.events(after=after, label=label, batch_id=batch)
        past = client.past_events(after=after or OLDEST, label=label, batch_id=batch)
        async with aclosing(coming if follow else past) as found:
            async for event in found:
                place = event.cursor or place
                if event.type == GAP:
                    say(harmless(f"Some events are not kept any more; the oldest that is has the cursor {_oldest(event)}."))
                else:
                    print(json.dumps(_document(event)) if as_json else harmless(_line(event)), flush=True)

    try:
        ask(show)
    except typer.Exit as end:
        if end.exit_code != ExitCode.REFUSED:
            _say_how_to_go_on(place, follow=follow, label=label, batch_id=batch)
        raise
    _say_how_to_go_on(place, follow=follow, label=label, batch_id=batch)


def _say_how_to_go_on(place: str | None, *, follow: bool, label: str | None, batch_id: str | None) -> None:
    if place is None:
        return
    filters = [word for name, value in (("--label", label), ("--batch", batch_id)) if value for word in (name, value)]
    say(f"To go on: {shlex.join(['fetchwork', 'events', *(['--follow'] if follow else []), '--after', place, *filters])}")


def _document(event: Event) -> dict[str, object]:
    return {"cursor": event.cursor, **event.document}


def _line(event: Event) -> str:
    """When, what, and what is most telling about a fetch."""
    facts = [str(event.data[name]) for name in ("status", "url", "id") if event.data.get(name)]
    return "  ".join([str(event.document.get("time", "")), event.type, *facts])


def _oldest(event: Event) -> str:
    return str(event.document.get("oldest", ""))
