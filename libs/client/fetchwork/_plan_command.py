"""`fetchwork plan`: what would happen to URLs, without fetching any."""

from typing import Annotated, Any

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
    raise typer.Exit(int(ExitCode.SUCCESS if all(item.is_allowed for item in items) else ExitCode.SOME_FAILED))


def _line(item: PlanItem) -> str:
    facts = [
        item.egress.reason if not item.is_allowed else None,
        f"robots {_named(item.robots, 'verdict')}" if item.robots else None,
        f"pace {_named(item.pace, 'rule')}" if item.pace else None,
        f"from {item.earliest_at:%Y-%m-%dT%H:%M:%SZ}" if item.earliest_at else None,
    ]
    return "  ".join([f"{item.egress.verdict:<10} {item.normalized_url or item.url}", *filter(None, facts)])


def _named(value: Any, member: str) -> str:
    """The word for a verdict or a rule, which is a member where there are details."""
    return str(value.get(member, "known")) if isinstance(value, dict) else str(value)
