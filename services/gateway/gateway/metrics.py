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
        self.planned = Counter(
            "fetchwork_planned_urls_total", "URLs in plans, by what egress would do and why.", ["reason"], registry=registry
        )
        for gate in Gate:
            self._closed.labels(gate=gate)
            self._refused.labels(gate=gate)

    def note_gate(self, gate: Gate, *, is_closed: bool) -> None:
        """One request was refused at a limit, or passed it."""
        self._closed.labels(gate=gate).set(is_closed)
        if is_closed:
            self._refused.labels(gate=gate).inc()
