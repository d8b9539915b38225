"""One fetch's way through us: accept, queue, dispatch, attempt, record, outbox. Each step's rate, wait and backlog."""

from dashboards.objectives import DISPATCH_SECONDS
from dashboards.page import Page, Row
from dashboards.panels import graph, light, number
from dashboards.promql import highest, increase, mean, quantile, rate, share, total

QUEUE_WAIT, LATENESS, COMMAND_WAIT = (
    "fetchwork_queue_wait_seconds",
    "fetchwork_dispatch_lateness_seconds",
    "fetchwork_command_wait_seconds",
)

CONSERVED = Row(
    "Is anything lost?",
    [
        light(
            "Conservation gap",
            "Accepted minus finished minus pending; 0 when idle, and it returns to 0.",
            f"abs({highest('fetchwork_conservation_gap')})",
            unit="short",
            wrong=1,
        ),
        light(
            "Lost entries",
            "Entries trimmed before a group had read them.",
            increase("fetchwork_lost_entries_total"),
            unit="short",
            wrong=1,
        ),
        light(
            "Dead letters",
            "Messages that nobody could read, parked with their bytes.",
            increase("fetchwork_dead_letters_total"),
            unit="short",
            wrong=1,
        ),
        light(
            "Leases overdue",
            "Leases that ended and that no dispatch has claimed again.",
            highest("fetchwork_leases_overdue"),
            unit="short",
            odd=1,
            wrong=1000,
        ),
        light(
            "Oldest in the outbox",
            "How long the oldest event waits for the feed.",
            highest("fetchwork_outbox_oldest_seconds"),
            unit="s",
            odd=10,
            wrong=60,
        ),
        light(
            "Idle and not acknowledged",
            "How long a delivered entry has waited for its acknowledgement.",
            highest("fetchwork_stream_pending_idle_seconds"),
            unit="s",
            odd=30,
            wrong=120,
        ),
    ],
)
STEPS = Row(
    "Rate of each step",
    [
        graph(
            "From promise to feed",
            "Fetches at each step. In a steady state the lines lie on each other; retries and snoozes lift the middle ones.",
            (rate("fetchwork_fetches_accepted_total"), "1 accepted"),
            (rate("fetchwork_fetches_ingested_total"), "2 in the ledger"),
            (rate("fetchwork_dispatched_total"), "3 dispatched"),
            (rate("fetchwork_commands_received_total"), "4 received"),
            (rate("fetchwork_attempt_duration_seconds_count", where='phase="total"'), "5 attempted"),
            (rate("fetchwork_outcomes_published_total"), "6 published"),
            (rate("fetchwork_attempts_total"), "7 recorded"),
            (rate("fetchwork_fetches_finished_total"), "8 finished"),
            (rate("fetchwork_outbox_sent_total"), "9 sent to the feed"),
            unit="ops",
            width=12,
        ),
        graph(
            "Finished, by status",
            "Terminal statuses.",
            (rate("fetchwork_fetches_finished_total", "status"), "{{status}}"),
            unit="ops",
            stacked=True,
            width=12,
        ),
        graph(
            "Attempts, by outcome",
            "What was recorded.",
            (rate("fetchwork_attempts_total", "outcome"), "{{outcome}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Failed, by error",
            "Fetches that failed for good.",
            (rate("fetchwork_fetches_failed_total", "error_type"), "{{error_type}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Not fetched again",
            "Fetches that a stored response or another fetch's exchange answered.",
            (rate("fetchwork_reuse_total", "kind"), "{{kind}}"),
            unit="ops",
            stacked=True,
        ),
    ],
)
WAITS = Row(
    "Waits",
    [
        graph(
            "Due to dispatched",
            "The whole wait of a due fetch, its host's turn included: a slow host is slow here on purpose.",
            (quantile(0.5, QUEUE_WAIT), "50 of 100"),
            (quantile(0.95, QUEUE_WAIT), "95 of 100"),
            (quantile(0.99, QUEUE_WAIT), "99 of 100"),
            unit="s",
        ),
        graph(
            "Dispatch lateness",
            "How long after a host's turn had come its due work was claimed: our delay alone.",
            (quantile(0.5, LATENESS), "50 of 100"),
            (quantile(0.99, LATENESS), "99 of 100"),
            unit="s",
            edge=DISPATCH_SECONDS,
        ),
        graph(
            "Command to attempt",
            "From the store's command to the first attempt of its train: broker, and the wait for a slot.",
            (quantile(0.5, COMMAND_WAIT), "50 of 100"),
            (quantile(0.99, COMMAND_WAIT), "99 of 100"),
            unit="s",
            edge=DISPATCH_SECONDS,
        ),
        graph(
            "Oldest due fetch",
            "How long it has waited.",
            (highest("fetchwork_queue_oldest_seconds"), "oldest"),
            unit="s",
            edge=300,
        ),
        graph(
            "Oldest in the outbox",
            "How long it has waited.",
            (highest("fetchwork_outbox_oldest_seconds"), "oldest"),
            unit="s",
            edge=60,
        ),
        graph(
            "One transaction",
            "99 of 100 transactions of ingest and of record take less.",
            (quantile(0.99, "fetchwork_ingest_seconds", "stream"), "{{stream}}"),
            unit="s",
        ),
    ],
)
BACKLOGS = Row(
    "Backlogs",
    [
        graph(
            "Queue",
            "Fetches that are not finished.",
            (highest("fetchwork_queue_fetches", "state"), "{{state}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Streams",
            "Entries that a group has not acknowledged.",
            (highest("fetchwork_stream_lag_entries", "stream, group"), "{{stream}}"),
            (highest("fetchwork_stream_pending_entries", "stream, group"), "{{stream}} delivered"),
            unit="short",
        ),
        graph(
            "Commands and events that wait",
            "Messages in the broker, events in the outbox.",
            (highest("fetchwork_broker_commands"), "commands"),
            (highest("fetchwork_outbox_events"), "events"),
            unit="short",
        ),
        graph(
            "Room before gates close",
            "Fetches that are out, as a share of how many may be.",
            (
                share(
                    highest("fetchwork_queue_fetches", where='state="running"'),
                    highest("fetchwork_limit", where='link="leased_fetches"'),
                ),
                "leased",
            ),
            unit="percentunit",
            edge=1,
        ),
        graph(
            "Done again",
            "Retries are the plan's, redeliveries are leases that ended: a worker died, or the broker was wiped. "
            "What was taken over is another store's work that it left lying.",
            (rate("fetchwork_retries_total"), "retries"),
            (rate("fetchwork_dispatch_redeliveries_total"), "redeliveries"),
            (rate("fetchwork_taken_over_entries_total"), "entries taken over"),
            (rate("fetchwork_dispatch_last_total"), "last of all tries, by themselves"),
            (rate("fetchwork_fetches_snoozed_total"), "given back before their turn"),
            unit="ops",
        ),
        graph(
            "Commands without an outcome",
            "What fetchers gave up or could not read; leases recover them.",
            (rate("fetchwork_commands_dropped_total", "reason"), "{{reason}}"),
            (rate("fetchwork_commands_rejected_total"), "rejected"),
            (rate("fetchwork_outcomes_unpublished_total"), "unpublished"),
            (rate("fetchwork_publish_failures_total"), "failed tries to publish"),
            unit="ops",
        ),
        graph("Fetches of a train", "The mean.", (mean("fetchwork_train_fetches"), "mean"), unit="short"),
        number("Slots announced", "By all fetchers, as the store sees them.", highest("fetchwork_worker_slots")),
        number("Fetchers announced", "As the store sees them.", highest("fetchwork_workers")),
        number("Slots busy", "Attempts under way.", total("fetchwork_fetcher_slots", where='state="busy"')),
    ],
)

PAGE = Page(
    name="pipeline",
    title="pipeline",
    answers="Where do fetches wait, and is one lost? Each step from the promise to the feed.",
    services=("gateway", "fetcher", "store"),
    rows=(CONSERVED, STEPS, WAITS, BACKLOGS),
)
