"""What the three services export: the families of their registries, asked from the registries themselves."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fetcher.metrics import FetcherMetrics
from fetcher.politeness.robots_metrics import RobotsMetrics
from fetcher.slots import Slots
from gateway.metrics import GatewayMetrics
from prometheus_client import CollectorRegistry, Metric
from store.metrics import StoreMetrics

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


@dataclass
class Family:
    """One metric: the names of its series, its labels, which values of these there are from the start, and who exports it."""

    name: str
    series: frozenset[str]
    labels: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)


def families() -> dict[str, Family]:
    """Every family by its name, as the registries have it before anything happens."""
    found: dict[str, Family] = {}
    for service, registry in _registries():
        for labels, metric in _metrics(registry):
            series = frozenset(f"{metric.name}{suffix}" for suffix in SUFFIXES.get(metric.type, ("",)))
            family = found.setdefault(metric.name, Family(metric.name, series))
            family.services.add(service)
            family.labels |= labels | ({"le"} if metric.type == "histogram" else set())
            for sample in metric.samples:
                if sample.name in series:
                    family.labels |= sample.labels.keys()
                    for label, value in sample.labels.items():
                        family.values.setdefault(label, set()).add(value)
    return found


def _registries() -> Iterator[tuple[str, CollectorRegistry]]:
    yield "gateway", GatewayMetrics().registry
    fetcher = FetcherMetrics(Slots(1)).registry
    RobotsMetrics(fetcher).watch_kept(lambda: 0)
    yield "fetcher", fetcher
    yield "store", StoreMetrics().registry


def _metrics(registry: CollectorRegistry) -> Iterator[tuple[set[str], Metric]]:
    """Each metric with its labels. A family without a series yet tells its labels nowhere but in its collector."""
    for collector in list(registry._collector_to_names):
        for metric in collector.collect():
            yield set(getattr(collector, "_labelnames", ())), metric
