"""Is it all right, and if not, where to look next."""

from dashboards.objectives import ACCEPT_SECONDS, ACCEPT_SHARE, AVAILABILITY, DISPATCH_SECONDS, DISPATCH_SHARE
from dashboards.page import Page, Row
from dashboards.panels import graph, light, listing, number, timeline
from dashboards.promql import age, fraction, highest, increase, lowest, quantile, rate, share, total, within

GATEWAY, FETCHER, STORE = 'job="gateway"', 'job="fetcher"', 'job="store"'
REQUESTS = "fetchwork_http_requests_total"
FAILED_ANSWERS = 'status_class="5xx"'

LIGHTS = Row(
    "Is it all right?",
    [
        light(
            "Processes up",
            "The share of our processes that Prometheus reaches. Those that are missing are red below.",
            'avg(up{job=~"gateway|fetcher|store"})',
            unit="percentunit",
            odd=1,
            wrong=0.67,
            low=True,
        ),
        light(
            "Dependencies up",
            "1 when every process could use all that it depends on at its last look, 0 when one could not.",
            lowest("fetchwork_dependency_up"),
            wrong=1,
            low=True,
        ),
        light(
            "Answered well",
            "The share of requests that we answered without an error of ours; gates that say 503 are errors of ours.",
            f"1 - {fraction(REQUESTS, FAILED_ANSWERS)}",
            unit="percentunit",
            odd=AVAILABILITY,
            wrong=0.99,
            low=True,
            see="api",
        ),
        light(
            "Promised in time",
            f"The share of submissions promised within {ACCEPT_SECONDS} s of their last byte.",
            within(str(ACCEPT_SECONDS), "fetchwork_accept_duration_seconds", 'result="accepted"'),
            unit="percentunit",
            odd=ACCEPT_SHARE,
            wrong=0.95,
            low=True,
            see="api",
        ),
        light(
            "Dispatched in time",
            f"The share of due fetches claimed within {DISPATCH_SECONDS} s of their host's turn: our delay, never its pace.",
            within(str(DISPATCH_SECONDS), "fetchwork_dispatch_lateness_seconds"),
            unit="percentunit",
            odd=DISPATCH_SHARE,
            wrong=0.95,
            low=True,
            see="pipeline",
        ),
        light(
            "Alerts that fire",
            "How many alerts fire now; they are listed below with their runbooks.",
            'count(ALERTS{alertstate="firing"}) or vector(0)',
            unit="short",
            wrong=1,
        ),
        light(
            "Conservation gap",
            "Accepted minus finished minus pending. Anything but 0 for long is a fetch that we lost or counted twice.",
            f"abs({highest('fetchwork_conservation_gap')})",
            unit="short",
            wrong=1,
            see="pipeline",
        ),
        light(
            "Lost or parked",
            "Entries trimmed before they were read, and messages parked as dead letters, in the time that is shown.",
            f"{increase('fetchwork_lost_entries_total')} + {increase('fetchwork_dead_letters_total')}",
            unit="short",
            wrong=1,
            see="pipeline",
        ),
        light(
            "Oldest due fetch",
            "How long the oldest fetch that is due has waited.",
            highest("fetchwork_queue_oldest_seconds"),
            unit="s",
            odd=60,
            wrong=300,
            see="pipeline",
        ),
        light(
            "Failures of ours",
            "The share of finished fetches that failed through us, not through their target or their request.",
            share(rate("fetchwork_fetches_failed_total", where='fault="ours"'), rate("fetchwork_fetches_finished_total")),
            unit="percentunit",
            odd=0.001,
            wrong=0.01,
            see="hosts",
        ),
        light("Closed gates", "Gates that refuse now.", total("fetchwork_gate_closed"), unit="short", odd=1, wrong=3, see="api"),
        light(
            "Database space",
            "How much of the space that the database was given it fills.",
            share(highest("fetchwork_database_bytes"), highest("fetchwork_limit", where='link="database_bytes"')),
            unit="percentunit",
            odd=0.7,
            wrong=0.85,
            see="store",
        ),
    ],
)
NOW = Row(
    "What is wrong?",
    [
        listing(
            "Alerts that fire",
            "Each row leads to its runbook.",
            'sum by (alertname, severity, job, instance) (ALERTS{alertstate="firing"})',
            link=("Runbook", "${docs}/runbooks/${__data.fields.alertname}.md"),
        ),
        timeline(
            "Dependencies, as each process sees them",
            "What it could use at its last look. Red for one alone: its network.",
            highest("fetchwork_dependency_up", "job, instance, dependency"),
            "{{instance}} {{dependency}}",
            words=("away", "up"),
        ),
        timeline(
            "Processes",
            "Which processes answer Prometheus.",
            'up{job=~"gateway|fetcher|store"}',
            "{{job}} {{instance}}",
            words=("gone", "up"),
        ),
        timeline(
            "Stopping in order",
            "Processes that were told to stop and finish what they have.",
            highest("fetchwork_draining", "job, instance"),
            "{{job}} {{instance}}",
            words=("serves", "stops"),
            good=0,
        ),
    ],
)
FLOW = Row(
    "What comes in, what goes out",
    [
        graph(
            "Accepted and finished",
            "Fetches promised, and fetches that reached their end. Where the first is above the second the queue grows.",
            (rate("fetchwork_fetches_accepted_total"), "accepted"),
            (rate("fetchwork_fetches_finished_total"), "finished"),
            unit="ops",
        ),
        graph(
            "Finished, by status",
            "An answer of the target is a success, whatever its status code.",
            (rate("fetchwork_fetches_finished_total", "status"), "{{status}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Failed, by whose fault it is",
            "Only failures of ours spend our budget. A target that is down is business, not an outage.",
            (rate("fetchwork_fetches_failed_total", "fault"), "{{fault}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Queue",
            "Fetches that are not finished: due or not yet due, and those that workers have.",
            (highest("fetchwork_queue_fetches", "state"), "{{state}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Latencies of ours",
            "99 of 100 are faster. The target's own time is on none of these lines.",
            (quantile(0.99, "fetchwork_accept_duration_seconds"), "accept"),
            (quantile(0.99, "fetchwork_dispatch_lateness_seconds"), "dispatch"),
            (quantile(0.99, "fetchwork_command_wait_seconds"), "command to attempt"),
            unit="s",
            edge=DISPATCH_SECONDS,
        ),
        graph(
            "Answers, by class",
            "All requests to the gateway.",
            (rate(REQUESTS, "status_class"), "{{status_class}}"),
            unit="reqps",
            stacked=True,
        ),
    ],
)
WHO = Row(
    "Who runs",
    [
        number("Gateways", "Gateways that answer.", f"sum(up{{{GATEWAY}}})"),
        number("Fetchers", "Fetchers that answer.", f"sum(up{{{FETCHER}}})"),
        number("Stores", "Stores that answer.", f"sum(up{{{STORE}}})"),
        number("Slots", "Attempts that may run at once.", total("fetchwork_fetcher_slots")),
        number(
            "Since the last look",
            "The longest time since a process looked at what it depends on. It looks every few seconds.",
            age("fetchwork_dependency_checked_timestamp_seconds"),
            unit="s",
        ),
        listing(
            "Builds",
            "Which version and revision runs where. More than one of a service at once is a release under way.",
            "count by (service, version, revision) (fetchwork_build_info)",
            width=4,
        ),
    ],
)

PAGE = Page(
    name="overview",
    title="overview",
    answers="Is Fetchwork all right? Lights first, then what is wrong, then what flows. The other dashboards say why.",
    services=("gateway", "fetcher", "store"),
    rows=(LIGHTS, NOW, FLOW, WHO),
)
