"""Every metric that the fetcher exports, in a registry of its own. No URL, host or id ever becomes a label."""

from collections.abc import Callable
from enum import StrEnum

from common.chassis.metrics import ChassisMetrics
from common.contracts.fetches import Budget, Outcome, OutcomeKind
from common.egress.addresses import AddressVerdict
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fetcher.errors import RejectionReason
from fetcher.large_bodies import LARGE_BODIES_DEFAULT, LargeBodies
from fetcher.slots import Slots

DURATION_BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
WAIT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
"""Those of the store's waits, so that both can be added up."""
PHASES = ("dns", "connect", "first_byte", "body", "total")
DEPENDENCIES = ("events", "broker", "store")
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
BYTE_KINDS = ("wire", "decoded")


class DropReason(StrEnum):
    """Why a command ended without an outcome; its lease recovers it. The value is a metric label."""

    LEASE_ENDED = "lease_ended"
    REPEATED = "repeated"
    """Its message had been taken before."""
    UNCONFIRMED = "unconfirmed"
    """Nobody could tell whether it had."""
    STOPPING = "stopping"


class SnoozeReason(StrEnum):
    """Why a command was given back to the store before its turn. The value is a metric label."""

    SLOWDOWN = "slowdown"
    """The host asked to be left alone."""
    CRAWL_DELAY = "crawl_delay"
    """robots.txt was asked just now, and the page must wait for longer than an attempt sleeps."""
    DEAD_HOST = "dead_host"
    """No connection could be made."""
    TRAIN_OVER = "train_over"
    LEASE_SHORT = "lease_short"
    """Less of the lease is left than the attempt may need."""
    STOPPING = "stopping"


class SlowdownSource(StrEnum):
    """Who said that a host asked to be left alone. The value is a metric label."""

    OWN = "own"
    TOLD = "told"


class FetcherMetrics:
    """The fetcher's counters and gauges. Every label value is there from the start, so that a first event is a step from 0."""

    def __init__(self, slots: Slots, *, large_bodies: int = LARGE_BODIES_DEFAULT) -> None:
        self.registry = CollectorRegistry()
        self.chassis = ChassisMetrics(self.registry, service="fetcher", dependencies=DEPENDENCIES, pools=("events", "broker"))
        durations = Histogram(
            "fetchwork_attempt_duration_seconds",
            "What an attempt spent in each phase, over all its hops.",
            ["phase"],
            buckets=DURATION_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._durations = {phase: durations.labels(phase=phase) for phase in PHASES}
        self._refused = self._counter("fetchwork_egress_refused", "Attempts that the egress policy refused.", AddressVerdict)
        self._exceeded = self._counter("fetchwork_budget_exceeded", "Attempts that a limit ended.", Budget)
        self._dropped = self._counter("fetchwork_commands_dropped", "Commands that ended without an outcome.", DropReason)
        self._snoozed = self._counter("fetchwork_snoozed", "Commands given back before their turn.", SnoozeReason)
        self._slowdowns = Counter(
            "fetchwork_slowdowns", "Hosts that asked to be left alone.", ["source"], registry=self.registry
        )
        for source in SlowdownSource:
            self._slowdowns.labels(source)
        self._rejected = self._counter("fetchwork_commands_rejected", "Messages that are no commands.", RejectionReason)
        self.published = Counter("fetchwork_outcomes_published", "Outcomes handed to the stream.", registry=self.registry)
        self.unpublished = Counter(
            "fetchwork_outcomes_unpublished", "Outcomes given up because their lease had ended.", registry=self.registry
        )
        self.publish_failures = Counter(
            "fetchwork_publish_failures", "Failed tries to publish outcomes or to store a body.", registry=self.registry
        )
        self._add_commands()
        self._add_targets()
        self._watch_slots(slots)
        self.large_bodies = self._watch_large_bodies(large_bodies)

    def attempted(self, outcome: Outcome) -> None:
        """Count one judged attempt. (`attempts_total` is the store's: only what is recorded counts.)"""
        evidence = outcome.evidence
        self._durations["total"].observe(evidence.total_seconds)
        for phase in PHASES[:-1]:
            seconds = getattr(evidence, f"{phase}_seconds")
            if seconds > 0:
                self._durations[phase].observe(seconds)
        if evidence.exceeded is not None:
            self._exceeded.labels(evidence.exceeded).inc()
        self._fetched_bytes["wire"].inc(evidence.wire_bytes)
        self._fetched_bytes["decoded"].inc(evidence.decoded_bytes)
        head = outcome.response or evidence.received
        if head is not None:
            self._responses[status_class_of(head.status)].inc()
        if outcome.kind is OutcomeKind.REFUSED and evidence.hops:
            verdict = AddressVerdict(evidence.hops[-1].verdict)
            if verdict.is_denial:  # what robots.txt refuses is counted where it is judged
                self._refused.labels(verdict).inc()

    def waited_for_start(self, seconds: float) -> None:
        """A train's first attempt starts so long after its commands were sent; a clock that is behind the store's makes it 0."""
        self._command_wait.observe(max(0.0, seconds))

    def dropped(self, reason: DropReason) -> None:
        """Count one command that ends without an outcome."""
        self._dropped.labels(reason).inc()

    def snoozed(self, reason: SnoozeReason) -> None:
        """Count one command that is given back; it is no attempt."""
        self._snoozed.labels(reason).inc()

    def slowed(self, source: SlowdownSource) -> None:
        """Count one host that is left alone from now on, or for longer than was known."""
        self._slowdowns.labels(source).inc()

    def rejected(self, reason: RejectionReason) -> None:
        """Count one message that is no command."""
        self._rejected.labels(reason).inc()

    def _add_commands(self) -> None:
        self.received = Counter("fetchwork_commands_received", "Commands taken from the broker.", registry=self.registry)
        self._command_wait = Histogram(
            "fetchwork_command_wait_seconds",
            "From a train's commands being sent by the store to the start of its first attempt.",
            buckets=WAIT_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.slot_wait = Histogram(
            "fetchwork_slot_wait_seconds",
            "How long a train or a command waited for a slot, also when it got none.",
            buckets=WAIT_BUCKETS_SECONDS,
            registry=self.registry,
        )

    def _add_targets(self) -> None:
        """What origins did: business, and no sign of our own health."""
        responses = Counter(
            "fetchwork_target_responses", "Last responses of origins in attempts.", ["status_class"], registry=self.registry
        )
        fetched_bytes = Counter(
            "fetchwork_fetched_bytes", "Bytes of bodies, as they came and as they were decoded.", ["kind"], registry=self.registry
        )
        self.idle_connections = Gauge(
            "fetchwork_fetcher_idle_connections", "Connections kept for the next request to their origin.", registry=self.registry
        )
        self.evicted_connections = Counter(
            "fetchwork_fetcher_evicted_connections",
            "Idle connections that were closed because there were too many.",
            registry=self.registry,
        )
        self._responses = {status_class: responses.labels(status_class) for status_class in STATUS_CLASSES}
        self._fetched_bytes = {kind: fetched_bytes.labels(kind) for kind in BYTE_KINDS}

    def _counter(self, name: str, text: str, reasons: type[StrEnum]) -> Counter:
        counter = Counter(name, text, ["reason"], registry=self.registry)
        for reason in reasons:
            if not isinstance(reason, AddressVerdict) or reason.is_denial:
                counter.labels(reason)
        return counter

    def _watch_large_bodies(self, count: int) -> LargeBodies:
        """So many places for large bodies, which are counted."""
        wait = Histogram(
            "fetchwork_large_body_wait_seconds",
            "How long a large body waited for its place in memory.",
            buckets=WAIT_BUCKETS_SECONDS,
            registry=self.registry,
        )
        places = LargeBodies(count, on_wait=wait.observe)
        gauge = Gauge(
            "fetchwork_fetcher_large_bodies", "Places for large bodies in memory, by state.", ["state"], registry=self.registry
        )
        gauge.labels("busy").set_function(lambda: places.busy)
        gauge.labels("free").set_function(lambda: places.count - places.busy)
        return places

    def _watch_slots(self, slots: Slots) -> None:
        gauge = Gauge("fetchwork_fetcher_slots", "Attempts that may run at once, by state.", ["state"], registry=self.registry)
        states: dict[str, Callable[[], float]] = {"busy": lambda: slots.busy, "free": lambda: slots.free}
        for state, read in states.items():
            gauge.labels(state).set_function(read)


def status_class_of(status: int) -> str:
    """`2xx` and the like (RFC 9110 section 15); `other` for a number that is no class."""
    status_class = f"{status // 100}xx"
    return status_class if status_class in STATUS_CLASSES else "other"
