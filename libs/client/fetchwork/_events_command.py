"""`fetchwork events`: the feed, an event a line."""

import json
import shlex
from contextlib import aclosing
from typing import Annotated

import typer

from fetchwork._ask import ask
from fetchwork._client import Client
from fetchwork._event_models import Event
from fetchwork._terminal import harmless, say

After = Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="Only what came after this event.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object an event, on a line of its own.")]


def events(after: After = None, follow: Follow = False, as_json: AsJson = False) -> None:
    """Show what happened, in order. The first word of a line is the event's cursor, for --after.

    Exit codes: 0 shown, 3 unreachable or not authorized, 7 refused, 130 interrupted.
    """
    place = after

    def show(event: Event) -> None:
        nonlocal place
        place = event.cursor
        print(json.dumps(event.model_dump(mode="json")) if as_json else harmless(_line(event)), flush=True)

    async def walk(client: Client) -> None:
        async with aclosing(client.events(after=after) if follow else client.past_events(after=after)) as found:
            async for event in found:
                show(event)

    try:
        ask(walk)
    except typer.Exit:
        if place:
            say(f"To go on: fetchwork events --follow --after {shlex.quote(place)}")
        raise


def _line(event: Event) -> str:
    """The cursor, the type, and what is most telling about a fetch."""
    facts = [str(event.data[name]) for name in ("status", "url", "id") if event.data.get(name)]
    return "  ".join([event.cursor, event.type, *facts])
