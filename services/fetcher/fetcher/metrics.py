"""Every metric that the fetcher exports, in a registry of its own. No URL, host or id ever becomes a label."""

from collections.abc import Callable
from enum import StrEnum

from common.chassis.build import register_build_info
from common.contracts.fetches import Budget, Outcome, OutcomeKind
from common.egress.addresses import AddressVerdict
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fetcher.errors import RejectionReason
from fetcher.slots import Slots

DURATION_BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
PHASES = ("dns", "connect", "first_byte", "body", "total")


class DropReason(StrEnum):
    """Why a command ended without an outcome; its lease recovers it. The value is a metric label."""

    LEASE_ENDED = "lease_ended"
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

    def __init__(self, slots: Slots) -> None:
        self.registry = CollectorRegistry()
        register_build_info(self.registry, service="fetcher")
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
        self._watch_slots(slots)

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
        if outcome.kind is OutcomeKind.REFUSED and evidence.hops:
            verdict = AddressVerdict(evidence.hops[-1].verdict)
            if verdict.is_denial:  # what robots.txt refuses is counted where it is judged
                self._refused.labels(verdict).inc()

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

    def _counter(self, name: str, text: str, reasons: type[StrEnum]) -> Counter:
        counter = Counter(name, text, ["reason"], registry=self.registry)
        for reason in reasons:
            if not isinstance(reason, AddressVerdict) or reason.is_denial:
                counter.labels(reason)
        return counter

    def _watch_slots(self, slots: Slots) -> None:
        gauge = Gauge("fetchwork_fetcher_slots", "Attempts that may run at once, by state.", ["state"], registry=self.registry)
        states: dict[str, Callable[[], float]] = {"busy": lambda: slots.busy, "free": lambda: slots.free}
        for state, read in states.items():
            gauge.labels(state).set_function(read)
