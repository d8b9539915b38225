"""The fetchers: are there enough slots, do they progress, what do attempts spend their time on."""

from dashboards.objectives import DISPATCH_SECONDS
from dashboards.page import Page, Row
from dashboards.panels import graph, light, number
from dashboards.process import process_row
from dashboards.promql import age, highest, mean, quantile, rate, share, total

ATTEMPT, SLOTS = "fetchwork_attempt_duration_seconds", "fetchwork_fetcher_slots"
CLOCK_SKEW = "fetchwork_clock_skew_seconds"
PROGRESS = "fetchwork_worker_progress_timestamp_seconds"

ENOUGH = Row(
    "Are there enough?",
    [
        light(
            "Slots busy",
            "The share of all slots that are in use. Full for long means: more fetchers.",
            share(total(SLOTS, where='state="busy"'), total(SLOTS)),
            unit="percentunit",
            odd=0.8,
            wrong=0.98,
        ),
        light(
            "Wait for a slot",
            "99 of 100 trains wait less for a slot of their worker.",
            quantile(0.99, "fetchwork_slot_wait_seconds"),
            unit="s",
            odd=0.5,
            wrong=DISPATCH_SECONDS,
        ),
        light("Since progress", "The longest time since a worker made progress.", age(PROGRESS), unit="s", odd=60, wrong=120),
        light(
            "Failed to publish",
            "Failed tries to hand in an outcome or a body, in a second.",
            rate("fetchwork_publish_failures_total"),
            unit="ops",
            odd=0.01,
            wrong=1,
        ),
        number("Fetchers", "That announce slots, as the store sees them.", highest("fetchwork_workers")),
        number("Slots", "Of all fetchers.", total(SLOTS)),
        number("Clock ahead", "Of the worst machine, before Postgres; leases go by Postgres.", highest(CLOCK_SKEW), unit="s"),
    ],
)
SLOTS_OVER_TIME = Row(
    "Slots and commands",
    [
        graph("Slots", "By state.", (total(SLOTS, "state"), "{{state}}"), unit="short", stacked=True),
        graph(
            "Slots busy, by worker",
            "Unequal lines: one worker is slow or new.",
            (total(SLOTS, "instance", 'state="busy"'), "{{instance}}"),
            unit="short",
        ),
        graph(
            "Large bodies",
            "Places in memory, and how long 99 of 100 wait for one. Long waits mean: more places, or more fetchers.",
            (total("fetchwork_fetcher_large_bodies", where='state="busy"'), "taken"),
            (total("fetchwork_fetcher_large_bodies", where='state="free"'), "free"),
            (quantile(0.99, "fetchwork_large_body_wait_seconds"), "wait in seconds, 99 of 100"),
            unit="short",
        ),
        graph(
            "Since progress, by worker",
            "A line that climbs is a worker that hangs.",
            (age(PROGRESS, "instance"), "{{instance}}"),
            unit="s",
            edge=120,
        ),
        graph(
            "Commands and outcomes",
            "Commands received, attempts made, outcomes published.",
            (rate("fetchwork_commands_received_total"), "commands"),
            (rate(f"{ATTEMPT}_count", where='phase="total"'), "attempts"),
            (rate("fetchwork_outcomes_published_total"), "outcomes"),
            unit="ops",
        ),
        graph(
            "Command to attempt",
            "From the store's command to the first attempt.",
            (quantile(0.5, "fetchwork_command_wait_seconds"), "50 of 100"),
            (quantile(0.99, "fetchwork_command_wait_seconds"), "99 of 100"),
            (quantile(0.99, "fetchwork_slot_wait_seconds"), "of it for a slot, 99 of 100"),
            unit="s",
            edge=DISPATCH_SECONDS,
        ),
        graph(
            "Without an outcome",
            "Dropped, rejected, unpublished, or held by a worker that hung; leases recover them.",
            (rate("fetchwork_commands_dropped_total", "reason"), "dropped: {{reason}}"),
            (rate("fetchwork_commands_rejected_total", "reason"), "rejected: {{reason}}"),
            (rate("fetchwork_outcomes_unpublished_total"), "unpublished"),
            (rate("fetchwork_worker_stuck_total"), "workers that ended themselves as stuck"),
            unit="ops",
        ),
    ],
)
TIME = Row(
    "What attempts spend",
    [
        graph("Phases, mean", "Each phase of those attempts that had it.", (mean(ATTEMPT, "phase"), "{{phase}}"), unit="s"),
        graph("Phases, 95 of 100", "Take less.", (quantile(0.95, ATTEMPT, "phase"), "{{phase}}"), unit="s"),
        graph(
            "Connections kept",
            "Idle, for the next request to their origin, and those closed because there were too many, in a second.",
            (total("fetchwork_fetcher_idle_connections"), "idle"),
            (rate("fetchwork_fetcher_evicted_connections_total"), "closed a second"),
            unit="short",
        ),
        graph(
            "Bytes fetched",
            "On the wire, and decoded.",
            (rate("fetchwork_fetched_bytes_total", "kind"), "{{kind}}"),
            unit="Bps",
        ),
    ],
)

PAGE = Page(
    name="workers",
    title="workers",
    answers="Are there enough fetchers, does each progress, and what do attempts spend their time on?",
    services=("fetcher",),
    rows=(ENOUGH, SLOTS_OVER_TIME, TIME, process_row("fetcher", has_loops=False)),
)
