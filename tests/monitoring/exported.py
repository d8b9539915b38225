"""What the three services export: the families of their registries, asked from the registries themselves."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from metrics_page import registries
from prometheus_client import CollectorRegistry, Metric

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
    for service, registry in registries().items():
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


def _metrics(registry: CollectorRegistry) -> Iterator[tuple[set[str], Metric]]:
    """Each metric with its labels. A family without a series yet tells its labels nowhere but in its collector."""
    for collector in list(registry._collector_to_names):
        for metric in collector.collect():
            yield set(getattr(collector, "_labelnames", ())), metric
