"""Our objectives over 30 days, and how each is measured. What targets do wrong burns no budget.

The windows and factors are those of the SRE workbook (chapter 5, "Alerting on SLOs", multiwindow, multi-burn-rate alerts).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
RUNBOOKS = "docs/runbooks"
"""In this repository: an alert says where to read on, wherever its copy is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """Both windows burn the budget at least `factor` times as fast as 30 days allow."""

    severity: str
    budget_spent: str
    long: str
    short: str
    factor: float


BURNS = (
    Burn(severity="page", budget_spent="2 %", long="1h", short="5m", factor=14.4),
    Burn(severity="page", budget_spent="5 %", long="6h", short="30m", factor=6),
    Burn(severity="ticket", budget_spent="10 %", long="1d", short="2h", factor=3),
    Burn(severity="ticket", budget_spent="10 %", long="3d", short="6h", factor=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One objective. `errors` and `events` are PromQL with `$window`: the bad share (0 to 1), and how many a second there were.

    Below `least` events in the long window nothing is said: a single slow request of a quiet night is no burn.
    """

    name: str
    alert: str
    service: str
    objective: float
    promise: str
    errors: str
    events: str
    least: int = 100

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.objective, 6)

    def series(self, window: str) -> str:
        """The recorded bad share over a window."""
        return f"slo:{self.name}_errors:ratio_rate{window}"

    def volume(self, window: str) -> str:
        """The recorded events a second over a window."""
        return f"slo:{self.name}_events:rate{window}"


API = 'route!~"/livez|/readyz|/startupz"'
OBJECTIVES = (
    Objective(
        name="availability",
        alert="AvailabilityBudgetBurn",
        service="gateway",
        objective=0.999,
        promise="99.9 % of API requests are answered without a 5xx",
        errors=f'(sum(rate(fetchwork_http_requests_total{{{API},status_class="5xx"}}[$window])) or vector(0))'
        f"\n/ sum(rate(fetchwork_http_requests_total{{{API}}}[$window]))",
        events=f"sum(rate(fetchwork_http_requests_total{{{API}}}[$window]))",
    ),
    Objective(
        name="accept_latency",
        alert="AcceptLatencyBudgetBurn",
        service="gateway",
        objective=0.99,
        promise="99 % of accepted submissions are durable within 0.3 s",
        errors='1 - sum(rate(fetchwork_accept_duration_seconds_bucket{result="accepted",le="0.3"}[$window]))'
        '\n/ sum(rate(fetchwork_accept_duration_seconds_count{result="accepted"}[$window]))',
        events='sum(rate(fetchwork_accept_duration_seconds_count{result="accepted"}[$window]))',
    ),
    Objective(
        name="first_attempt",
        alert="FirstAttemptBudgetBurn",
        service="store",
        objective=0.99,
        promise="99 % of turns of hosts are dispatched within 1 s, and their commands picked up within another",
        errors='1 - (sum(rate(fetchwork_dispatch_lateness_seconds_bucket{le="1.0"}[$window]))'
        "\n/ sum(rate(fetchwork_dispatch_lateness_seconds_count[$window])))"
        '\n* ((sum(rate(fetchwork_command_wait_seconds_bucket{le="1.0"}[$window]))'
        "\n/ sum(rate(fetchwork_command_wait_seconds_count[$window]))) >= 0 or vector(1))",
        events="sum(rate(fetchwork_dispatch_lateness_seconds_count[$window]))",
    ),
)


def slo_groups() -> list[dict[str, Any]]:
    """The rule groups of all objectives: first what is recorded, then what is said of it."""
    recorded = [rule for objective in OBJECTIVES for rule in _records(objective)]
    alerts = [_alert(objective, burn) for objective in OBJECTIVES for burn in BURNS]
    return [{"name": "slo-records", "rules": recorded}, {"name": "slo-burns", "rules": alerts}]


def _records(objective: Objective) -> Iterator[dict[str, Any]]:
    for window in WINDOWS:
        yield {"record": objective.series(window), "expr": objective.errors.replace("$window", window)}
    for burn in BURNS:
        yield {"record": objective.volume(burn.long), "expr": objective.events.replace("$window", burn.long)}


def _alert(objective: Objective, burn: Burn) -> dict[str, Any]:
    threshold = f"{burn.factor:g} * {objective.budget:g}"
    guard = f"{objective.volume(burn.long)} * {_seconds(burn.long)} >= {objective.least}"
    return {
        "alert": objective.alert,
        "expr": f"{objective.series(burn.long)} > {threshold}\nand {objective.series(burn.short)} > {threshold}\nand {guard}",
        "labels": {"severity": burn.severity, "service": objective.service, "window": burn.long},
        "annotations": {
            "summary": f"The promise that {objective.promise} is being broken.",
            "description": f"{{{{ $value | humanizePercentage }}}} were bad over {burn.long}; at this pace {burn.budget_spent} "
            f"of the 30 days' budget of {objective.budget:.1%} goes in that time.",
            "runbook_url": f"{RUNBOOKS}/{objective.alert}.md",
            "dashboard": "fetchwork-overview",
        },
    }


def _seconds(window: str) -> int:
    return int(window[:-1]) * {"m": 60, "h": 3600, "d": 86_400}[window[-1]]
