"""Every metric of the gateway, in one registry that the composition root owns."""

from enum import StrEnum

from common.chassis.build import register_build_info
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

REQUEST_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Gate(StrEnum):
    """Where the gateway refuses what is too much. The value is a metric label."""

    INGESTING = "ingesting"
    REQUESTS = "requests"
    KEY_LOOKUPS = "key_lookups"


class KeyRefusal(StrEnum):
    """Why a key was refused: for operators alone, callers are told nothing of it. The value is a metric label."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG = "wrong"
    REVOKED = "revoked"
    EXPIRED = "expired"


class GatewayMetrics:
    """Rate, errors and duration of requests, the promises made, and the limits kept; names start with `fetchwork_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        register_build_info(registry, service="gateway")
        ProcessCollector(registry=registry)
        self.accepted = Counter("fetchwork_fetches_accepted_total", "Fetches answered with 202.", registry=registry)
        self.requests = Counter(
            "fetchwork_http_requests_total", "Requests answered.", ["method", "route", "status_class"], registry=registry
        )
        self.request_seconds = Histogram(
            "fetchwork_http_request_duration_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
            buckets=REQUEST_BUCKETS_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge("fetchwork_http_requests_in_progress", "Requests under way.", registry=registry)
        self.limits = Gauge(
            "fetchwork_limit", "What is let in at most, by the link of the chain that keeps it.", ["link"], registry=registry
        )
        self._closed = Gauge(
            "fetchwork_gate_closed", "1 from a refusal on until something is let in again, else 0.", ["gate"], registry=registry
        )
        self._refused = Counter("fetchwork_gate_refusals_total", "Requests refused at a limit.", ["gate"], registry=registry)
        for gate in Gate:
            self._closed.labels(gate=gate)
            self._refused.labels(gate=gate)
        self._add_keys(registry)

    def _add_keys(self, registry: CollectorRegistry) -> None:
        """What is known of API keys, and which are refused."""
        self.keys_known = Gauge("fetchwork_keys_known", "API keys in memory, revoked ones too.", registry=registry)
        self.keys_age_seconds = Gauge(
            "fetchwork_keys_age_seconds", "How old is what we know of API keys; infinite until all were read.", registry=registry
        )
        self.key_failures = Counter(
            "fetchwork_key_failures_total",
            "Readings of keys, and reports of their use, that failed.",
            ["loop"],
            registry=registry,
        )
        self.refused_keys = Counter(
            "fetchwork_keys_refused_total", "Requests answered 401, by what was wrong with it.", ["reason"], registry=registry
        )
        for loop in ("key_ring", "key_use"):
            self.key_failures.labels(loop=loop)
        for reason in KeyRefusal:
            self.refused_keys.labels(reason=reason)

    def note_key_failure(self, loop: str) -> None:
        """A reading of keys or a report of their use failed."""
        self.key_failures.labels(loop=loop).inc()

    def note_gate(self, gate: Gate, *, is_closed: bool) -> None:
        """One request was refused at a limit, or passed it."""
        self._closed.labels(gate=gate).set(is_closed)
        if is_closed:
            self._refused.labels(gate=gate).inc()
