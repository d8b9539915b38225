"""The status page as HTML. Jinja2 escapes whatever comes from outside; the policy of our pages lets no script in besides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.chassis.build import VERSION
from common.chassis.health import HealthReport
from common.contracts.overview import Overview
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.metrics import Gate
from gateway.pages import HEADERS
from gateway.status import words
from gateway.status.plots import draw
from gateway.status.traffic import COUNTS, ENDS, Minute, last_hour, total

PRIVATE = HEADERS | {"Cache-Control": "no-store", "Vary": "Cookie", "Referrer-Policy": "same-origin"}
"""Another policy than `no-referrer`, under which a browser would not say where a form comes from."""
LIVE_SECONDS = 3
TABLE_MINUTES = 5
GATES: Mapping[Gate, str] = {
    Gate.INGESTING: "new fetches: too many wait for the ledger",
    Gate.REQUESTS: "requests: too many are under way",
    Gate.FEED_CLIENTS: "streams of events: all places are taken",
    Gate.WAITS: "requests that wait: all places are taken",
    Gate.BATCHES: "batches: too many arrive at once",
    Gate.KEY_LOOKUPS: "unknown API keys: too many are being looked up",
}
"""What is refused while a gate is closed, and why."""

PAGES = Environment(
    loader=PackageLoader("gateway"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
PAGES.filters |= {"count": words.count, "duration": words.duration, "until": words.until, "pace": words.pace}
PAGES.globals |= {"host_state": words.host_state, "errors": words.ERRORS, "gate_words": GATES, "version": VERSION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the page is drawn from. `overview` is None while the store does not answer."""

    report: HealthReport
    overview: Overview | None
    closed_gates: Sequence[Gate]
    name: str
    address: str


def status_page(facts: Facts) -> HTMLResponse:
    """The whole deployment, for an operator who has signed in."""
    state, reasons = _state(facts)
    drawn = _traffic(facts.overview)
    return _page("status.html", 200, facts=facts, state=state, reasons=reasons, live_seconds=LIVE_SECONDS, **drawn)


def sign_in_page(
    report: HealthReport, *, error: str = "", status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """Whether the service is ready, and a form; `error` is why nobody was let in."""
    return _page("sign_in.html", status, headers=headers, is_ready=report.is_healthy, error=error)


def _state(facts: Facts) -> tuple[str, list[str]]:
    """`ok`, `warn` or `bad`, and everything that is wrong, as sentences."""
    failed = [f"The check of {name} failed: {reason}." for name, reason in facts.report.results.items() if reason]
    reasons = [*failed]
    if facts.overview is None:
        reasons.append("The store does not answer: fetches are still accepted, their numbers are missing here.")
    elif not facts.overview.worker_slots:
        reasons.append("No worker announces slots: fetches are accepted and wait.")
    reasons += [f"This gateway refuses {GATES[gate]}." for gate in facts.closed_gates]
    return ("bad" if not facts.report.is_healthy else "warn" if reasons else "ok"), reasons


def _traffic(overview: Overview | None) -> dict[str, Any]:
    if overview is None:
        return {"totals": {}, "plots": [], "table": []}
    minutes = last_hour(overview)
    levels = [*minutes[1:], _level(overview)]
    return {
        "totals": {name: total(minutes, name) for name in (*COUNTS, "finished")},
        "plots": [
            draw("Finished", minutes, ENDS),
            draw("Accepted", minutes, ("accepted",)),
            draw("In the queue", levels, ("running", "queued")),
        ],
        "table": [_rows(minutes[start : start + TABLE_MINUTES]) for start in range(0, len(minutes), TABLE_MINUTES)],
    }


def _level(overview: Overview) -> Minute:
    """The queue as it is now, beside those at the beginnings of minutes."""
    now = overview.now
    return Minute(at=now.at, queued=now.queued, running=now.running, **dict.fromkeys(COUNTS, 0))


def _rows(minutes: Sequence[Minute | None]) -> dict[str, Any] | None:
    """Some minutes as one line of the table; None when nothing is known of them."""
    known = [minute for minute in minutes if minute is not None]
    if not known:
        return None
    return {"at": known[0].at, **{name: total(known, name) for name in COUNTS}}


def _page(template: str, status: int, *, headers: Mapping[str, str] | None = None, **values: Any) -> HTMLResponse:
    text = PAGES.get_template(template).render(values)
    return HTMLResponse(text, status_code=status, headers=PRIVATE | dict(headers or {}))
