"""Every metric of the gateway, in one registry that the composition root owns."""

from common.chassis.build import register_build_info
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

REQUEST_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class GatewayMetrics:
    """Rate, errors and duration of requests, and the promises made; names start with `fetchwork_`."""

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
