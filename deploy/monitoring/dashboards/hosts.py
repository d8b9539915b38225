"""What we do to hosts, and what they do to us. No host is a label unless operators ask for it."""

from dashboards.page import Page, Row
from dashboards.panels import bars, graph, light, number
from dashboards.promql import fraction, highest, increase, quantile, rate, share, total

MANNERS = Row(
    "Are we polite?",
    [
        light(
            "Politeness violations",
            "Attempts that started sooner after another on their host than its delay allows. Only 0 will do.",
            increase("fetchwork_politeness_violations_total"),
            unit="short",
            wrong=1,
        ),
        light(
            "Hosts overlooked",
            "Hosts with queued fetches that the claim would not have looked at in time. Some after a deployment are usual.",
            increase("fetchwork_hosts_overlooked_total"),
            unit="short",
            odd=1,
            wrong=100,
        ),
        number("Paused", "Hosts that operators paused.", highest("fetchwork_hosts", where='state="paused"')),
        number("Banned", "Hosts that operators banned.", highest("fetchwork_hosts", where='state="banned"')),
        number(
            "Unreached",
            "Hosts that nobody reaches; they are tried again by and by.",
            highest("fetchwork_hosts", where='state="unreached"'),
        ),
        number("robots.txt kept", "Files that the store keeps for all fetchers.", highest("fetchwork_robots_files")),
    ],
)
ANSWERS = Row(
    "What hosts answer, and what is ours",
    [
        graph(
            "Answers of targets, by class",
            "Business, not our health: a 404 is a success.",
            (rate("fetchwork_target_responses_total", "status_class"), "{{status_class}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Failed, by whose fault it is",
            "Dark red is ours, and only that.",
            (rate("fetchwork_fetches_failed_total", "fault"), "{{fault}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Share of failures that are ours",
            "Of all fetches that finished.",
            (
                share(rate("fetchwork_fetches_failed_total", where='fault="ours"'), rate("fetchwork_fetches_finished_total")),
                "ours",
            ),
            unit="percentunit",
            edge=0.001,
        ),
        graph(
            "Targets' failures, by error",
            "DNS, connecting, TLS, time, protocol, size.",
            (rate("fetchwork_fetches_failed_total", "error_type", 'fault="target"'), "{{error_type}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Time to the first byte",
            "The target's time. 50 and 95 of 100 attempts.",
            (quantile(0.5, "fetchwork_attempt_duration_seconds", where='phase="first_byte"'), "50 of 100"),
            (quantile(0.95, "fetchwork_attempt_duration_seconds", where='phase="first_byte"'), "95 of 100"),
            unit="s",
        ),
        graph(
            "Attempts that a limit ended",
            "Which of a fetch's limits.",
            (rate("fetchwork_budget_exceeded_total", "reason"), "{{reason}}"),
            unit="ops",
        ),
    ],
)
PACE = Row(
    "Pace",
    [
        graph(
            "Hosts that asked to be left alone",
            "429, 503 and Retry-After, seen by a worker itself or told by another.",
            (rate("fetchwork_slowdowns_total", "source"), "{{source}}"),
            unit="ops",
        ),
        graph("Given back before their turn", "By why.", (rate("fetchwork_snoozed_total", "reason"), "{{reason}}"), unit="ops"),
        graph(
            "Hosts left alone",
            "By operators, or since nobody reaches them.",
            (highest("fetchwork_hosts", "state"), "{{state}}"),
            unit="short",
        ),
        bars(
            "Hosts with the longest queues",
            "Only where FETCHWORK_METRICS_TOP_HOSTS is above 0; `other` is all the rest.",
            highest("fetchwork_host_queue_fetches", "host"),
            "{{host}}",
            width=24,
        ),
    ],
)
RULES = Row(
    "What is not fetched",
    [
        graph(
            "Refused by egress policy",
            "Addresses that are not dialled. A sudden rise is somebody who tries.",
            (rate("fetchwork_egress_refused_total", "reason"), "{{reason}}"),
            unit="ops",
        ),
        graph(
            "robots.txt, by verdict",
            "URLs asked about.",
            (rate("fetchwork_robots_decisions_total", "verdict"), "{{verdict}}"),
            unit="ops",
        ),
        graph(
            "robots.txt, by who was asked",
            "This process, the store, the origin.",
            (rate("fetchwork_robots_lookups_total", "source"), "{{source}}"),
            unit="ops",
        ),
        graph(
            "robots.txt of origins, by result",
            "An origin that is unreachable forbids all; an expired copy serves meanwhile.",
            (rate("fetchwork_robots_lookups_total", "result", 'source="origin"'), "{{result}}"),
            unit="ops",
        ),
        graph(
            "robots.txt found in the process",
            "The share of lookups that asked nobody.",
            (fraction("fetchwork_robots_lookups_total", 'source="process"'), "in the process"),
            unit="percentunit",
            high=1,
        ),
        graph(
            "robots.txt kept and not kept",
            "Files deleted, not taken because of their size, not shared because the store was away.",
            (rate("fetchwork_robots_pruned_total"), "deleted"),
            (rate("fetchwork_robots_refused_total"), "too large"),
            (rate("fetchwork_robots_unshared_total"), "not shared"),
            unit="ops",
        ),
        graph(
            "robots.txt in memory",
            "Origins whose file each fetcher keeps.",
            (total("fetchwork_robots_kept_origins", "instance"), "{{instance}}"),
            unit="short",
        ),
    ],
)

PAGE = Page(
    name="hosts",
    title="hosts",
    answers="Are we polite, what do hosts answer, and which failures are theirs?",
    services=("fetcher", "store"),
    rows=(MANNERS, ANSWERS, PACE, RULES),
)
