"""Every metric of the store, in one registry that the composition root owns."""

from collections.abc import Mapping

from common.chassis.metrics import ChassisMetrics, LoopMetrics
from common.contracts.fetches import ErrorType, FetchStatus, OutcomeKind
from common.contracts.views import ServedByKind
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from store.server_metrics import ServerMetrics

WAIT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
TRANSACTION_BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)

LATENESS_BUCKETS_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

CONTENT_RESULTS = ("new", "duplicate")
DEPENDENCIES = ("postgres", "events", "broker")
HOST_STATES = ("paused", "banned", "unreached")
PRUNED = ("fetches", "attempts", "contents", "batches", "dead_letters")


class StoreMetrics:
    """Counters, gauges and histograms of ingest, dispatch and the ledger; names start with `fetchwork_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.chassis = ChassisMetrics(registry, service="store", dependencies=DEPENDENCIES, pools=("events", "broker"))
        self.loops = LoopMetrics(registry)
        self.ingested = Counter("fetchwork_fetches_ingested_total", "Accepted fetches new to the ledger.", registry=registry)
        self.finished = Counter(
            "fetchwork_fetches_finished_total", "Fetches that reached a terminal status.", ["status"], registry=registry
        )
        self.failed = Counter(
            "fetchwork_fetches_failed_total",
            "Fetches that ended without a response, by why and whose doing that is: only `ours` says that we are not well.",
            ["error_type", "fault"],
            registry=registry,
        )
        self.attempts = Counter("fetchwork_attempts_total", "Attempts recorded, by outcome.", ["outcome"], registry=registry)
        self.retries = Counter("fetchwork_retries_total", "Attempts after which another was scheduled.", registry=registry)
        self.dispatched = Counter("fetchwork_dispatched_total", "Fetches claimed and leased.", registry=registry)
        self.snoozed = Counter(
            "fetchwork_fetches_snoozed_total", "Fetches of trains that workers gave back before their turn.", registry=registry
        )
        self.train_fetches = Histogram(
            "fetchwork_train_fetches", "Fetches of one train.", buckets=(1, 2, 5, 10, 20, 50, 100, 200), registry=registry
        )
        self.redeliveries = Counter(
            "fetchwork_dispatch_redeliveries_total", "Fetches dispatched again because a lease ended.", registry=registry
        )
        self.last_dispatches = Counter(
            "fetchwork_dispatch_last_total",
            "Fetches dispatched for the last time, by themselves: left unanswered once more they fail as abandoned.",
            registry=registry,
        )
        self.history_rows = Gauge(
            "fetchwork_history_rows", "About how many rows a table has that only its owner prunes.", ["table"], registry=registry
        )
        self.workers = Gauge("fetchwork_workers", "Fetcher processes that announce slots.", registry=registry)
        self.worker_slots = Gauge("fetchwork_worker_slots", "Slots announced by all fetchers.", registry=registry)
        self.servers = ServerMetrics(registry)
        self._add_queue(registry)
        self._add_streams(registry)
        self._add_contents(registry)
        self._add_reuse_and_robots(registry)
        self._add_hosts(registry)
        self._add_limits(registry)
        self._start_at_zero()

    def _add_queue(self, registry: CollectorRegistry) -> None:
        """What waits, what is out, and how long that takes."""
        self.queue_wait_seconds = Histogram(
            "fetchwork_queue_wait_seconds", "From due to dispatched.", buckets=WAIT_BUCKETS_SECONDS, registry=registry
        )
        self.lateness_seconds = Histogram(
            "fetchwork_dispatch_lateness_seconds",
            "From when a host's turn had come, with due work, to its claim, by train. Our delay, never the host's pace.",
            buckets=LATENESS_BUCKETS_SECONDS,
            registry=registry,
        )
        self.queue_fetches = Gauge("fetchwork_queue_fetches", "Fetches that are not terminal.", ["state"], registry=registry)
        self.queue_oldest_seconds = Gauge(
            "fetchwork_queue_oldest_seconds", "How long the oldest due fetch has waited.", registry=registry
        )
        self.leases_overdue = Gauge(
            "fetchwork_leases_overdue", "Leases that ended without an answer, and nobody claimed yet.", registry=registry
        )
        self.conservation_gap = Gauge(
            "fetchwork_conservation_gap", "Accepted minus terminal minus pending; returns to 0 when idle.", registry=registry
        )

    def _add_streams(self, registry: CollectorRegistry) -> None:
        """What comes in from the streams, and what goes out to the feed."""
        self.stream_lag = Gauge(
            "fetchwork_stream_lag_entries", "Entries not yet acknowledged by a group.", ["stream", "group"], registry=registry
        )
        self.stream_pending = Gauge(
            "fetchwork_stream_pending_entries",
            "Entries delivered to a group and not acknowledged.",
            ["stream", "group"],
            registry=registry,
        )
        self.stream_idle_seconds = Gauge(
            "fetchwork_stream_pending_idle_seconds",
            "How long ago the one that waits longest of a group's oldest pending entries was delivered last.",
            ["stream", "group"],
            registry=registry,
        )
        self.taken_over = Counter(
            "fetchwork_taken_over_entries_total",
            "Entries that a store was given and left idle, and that this one took over.",
            ["stream"],
            registry=registry,
        )
        self.dead_letters = Counter("fetchwork_dead_letters_total", "Messages parked, by stream.", ["stream"], registry=registry)
        self.lost_entries = Counter(
            "fetchwork_lost_entries_total", "Entries trimmed before acknowledgement.", ["stream"], registry=registry
        )
        self.wiped_at = Gauge(
            "fetchwork_stream_wiped_timestamp_seconds",
            "When this store last found a stream gone that had been there, with all that was not yet in the ledger; 0 for never.",
            ["stream"],
            registry=registry,
        )
        self.transaction_seconds = Histogram(
            "fetchwork_ingest_seconds",
            "One ingest transaction.",
            ["stream"],
            buckets=TRANSACTION_BUCKETS_SECONDS,
            registry=registry,
        )
        self.outbox_sent = Counter("fetchwork_outbox_sent_total", "Events sent to the feed.", registry=registry)
        self.outbox_events = Gauge(
            "fetchwork_outbox_events", "Events that are committed and not sent to the feed; 100,000 at most.", registry=registry
        )
        self.outbox_oldest_seconds = Gauge(
            "fetchwork_outbox_oldest_seconds", "How long the oldest event of the outbox has waited.", registry=registry
        )

    def _add_contents(self, registry: CollectorRegistry) -> None:
        """Bodies that were handed in, with attempts or by upload."""
        self.contents = Counter(
            "fetchwork_contents_total", "Bodies handed in, by whether the store had them already.", ["result"], registry=registry
        )
        self.content_bytes = Counter(
            "fetchwork_content_bytes_total", "Decoded bytes of those bodies.", ["result"], registry=registry
        )

    def _add_reuse_and_robots(self, registry: CollectorRegistry) -> None:
        self.reused = Counter(
            "fetchwork_reuse_total", "Fetches that another fetch's exchange answered, by kind.", ["kind"], registry=registry
        )
        self.reuse_saved_bytes = Counter(
            "fetchwork_reuse_saved_bytes_total", "Decoded bytes not transferred again, by kind.", ["kind"], registry=registry
        )
        self.robots_files = Gauge("fetchwork_robots_files", "robots.txt files kept for all fetchers.", registry=registry)
        self.robots_pruned = Counter(
            "fetchwork_robots_pruned_total", "robots.txt files deleted: long expired, or beyond the limit.", registry=registry
        )
        self.pruned = Counter(
            "fetchwork_pruned_total", "Rows deleted because they were old enough, or nothing refers to them.", ["what"],
            registry=registry,
        )
        self.robots_refused = Counter(
            "fetchwork_robots_refused_total", "robots.txt files not taken because of their size.", registry=registry
        )

    def _add_hosts(self, registry: CollectorRegistry) -> None:
        """What we do to hosts."""
        self.politeness_violations = Counter(
            "fetchwork_politeness_violations_total",
            "Attempts that started sooner after the end of another on their host than its delay.",
            registry=registry,
        )
        self.hosts_overlooked = Counter(
            "fetchwork_hosts_overlooked_total",
            "Hosts with queued fetches that the claim would not have looked at in time; some after a deployment.",
            registry=registry,
        )

        self.hosts = Gauge(
            "fetchwork_hosts",
            "Hosts that operators paused or banned, and hosts that nobody reaches.",
            ["state"],
            registry=registry,
        )
        self.host_queue_fetches = Gauge(
            "fetchwork_host_queue_fetches",
            "Fetches that wait, of the hosts with most and of all `other` together; only with FETCHWORK_METRICS_TOP_HOSTS. "
            "Estimated from a sample while the queue's table is large.",
            ["host"],
            registry=registry,
        )

    def _add_limits(self, registry: CollectorRegistry) -> None:
        self.limit = self.chassis.limit
        self.key_totals_raised = Counter(
            "fetchwork_key_totals_raised_total",
            "Accepted totals of keys that the events Redis had lost, or never had.",
            registry=registry,
        )
        self.key_totals_lowered = Counter(
            "fetchwork_key_totals_lowered_total",
            "Keys that gateways had counted more fetches of than were accepted.",
            registry=registry,
        )

    def show_limits(self, limits: Mapping[str, int], *, rounds: float) -> None:
        """Show the limits in force; how many trains may be out follows the slots that workers announce."""
        for link, limit in limits.items():
            self.limit.labels(link=link).set(limit)
        self.limit.labels(link="leased_trains").set_function(lambda: int(_value(self.worker_slots) * rounds))

    def _start_at_zero(self) -> None:
        """A series that appears with its first event hides that event from every rate."""
        for state in HOST_STATES:
            self.hosts.labels(state=state)
        for status in FetchStatus:
            if status.is_terminal:
                self.finished.labels(status=status.value)
        for error_type in ErrorType:
            self.failed.labels(error_type=error_type.value, fault=error_type.fault.value)
        for result in CONTENT_RESULTS:
            self.contents.labels(result=result)
            self.content_bytes.labels(result=result)
        for stream in (ACCEPTED_STREAM, ATTEMPTED_STREAM):
            self.dead_letters.labels(stream=stream)
            self.lost_entries.labels(stream=stream)
            self.taken_over.labels(stream=stream)
            self.wiped_at.labels(stream=stream)
        for what in PRUNED:
            self.pruned.labels(what=what)
        for kind in OutcomeKind:
            self.attempts.labels(outcome=kind.value)
        for served_by in (ServedByKind.CACHE, ServedByKind.COALESCED, ServedByKind.NOT_MODIFIED):
            self.reused.labels(kind=served_by.value)
            self.reuse_saved_bytes.labels(kind=served_by.value)


def _value(gauge: Gauge) -> float:
    """What a gauge without labels shows now."""
    return float(next(iter(gauge.collect())).samples[0].value)
