"""`fetchwork plan`: what would happen to URLs, without fetching any."""

from typing import Annotated

import typer

from fetchwork._ask import ask
from fetchwork._exit_codes import ExitCode
from fetchwork._models import PlanItem
from fetchwork._terminal import harmless

Urls = Annotated[list[str], typer.Argument(metavar="URL...", help="What would be fetched.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a URL, on a line of its own.")]


def plan(urls: Urls, as_json: AsJson = False) -> None:
    """Say whether URLs would be fetched, what robots.txt says, at which pace and when at the earliest.

    Exit codes: 0 all would be, 3 unreachable or not authorized, 5 some would be refused, 7 refused as a whole.
    """
    items = ask(lambda client: client.plan(urls))
    for item in items:
        print(item.model_dump_json() if as_json else harmless(_line(item)))
    raise typer.Exit(int(ExitCode.SOME_FAILED if any(item.is_refused for item in items) else ExitCode.SUCCESS))


def _line(item: PlanItem) -> str:
    robots, pace = item.robots, item.pace
    facts = [
        ": ".join(filter(None, (item.egress.reason, item.egress.detail))) if item.egress.verdict != "allow" else "",
        f"robots {robots.verdict}{f' ({robots.line})' if robots.line else ''}" if robots else "",
        f"pace {pace.rule} {pace.delay_ms} ms" if pace else "",
        f"host {pace.state}" if pace and pace.state != "open" else "",
        f"from {item.earliest_at:%Y-%m-%dT%H:%M:%SZ}" if item.earliest_at else "",
    ]
    return "  ".join([f"{'refuse' if item.is_refused else 'allow':<10} {item.normalized_url or item.url}", *filter(None, facts)])
