"""What is counted about robots.txt. No origin ever becomes a label."""

from collections.abc import Callable
from enum import StrEnum

from common.contracts.fetches import RobotsVerdict
from prometheus_client import CollectorRegistry, Counter, Gauge


class LookupSource(StrEnum):
    """Who was asked for a robots.txt. The value is a metric label."""

    PROCESS = "process"
    STORE = "store"
    ORIGIN = "origin"


class LookupResult(StrEnum):
    """How asking ended. The value is a metric label."""

    FOUND = "found"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    STALE = "stale"
    """An expired copy serves, since the origin is unreachable."""
    FAILED = "failed"
    """The network failed."""
    SHARED = "shared"
    """Another attempt was already asking."""
    MISSING = "missing"
    AWAY = "away"


_ANSWERS = (LookupResult.FOUND, LookupResult.UNAVAILABLE, LookupResult.UNREACHABLE)
_RESULTS = {
    LookupSource.PROCESS: (*_ANSWERS, LookupResult.FAILED, LookupResult.SHARED),
    LookupSource.STORE: (*_ANSWERS, LookupResult.MISSING, LookupResult.AWAY),
    LookupSource.ORIGIN: (*_ANSWERS, LookupResult.STALE, LookupResult.FAILED),
}


class RobotsMetrics:
    """Counters of decisions and lookups; every label value is there from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        decisions = Counter(
            "fetchwork_robots_decisions", "URLs that robots.txt was asked about.", ["verdict"], registry=registry
        )
        self._decided: dict[RobotsVerdict, Counter] = {
            verdict: decisions.labels(verdict) for verdict in RobotsVerdict if verdict is not RobotsVerdict.IGNORED
        }
        lookups = Counter(
            "fetchwork_robots_lookups", "Lookups of a robots.txt, by who was asked.", ["source", "result"], registry=registry
        )
        self._looked_up = {
            (source, result): lookups.labels(source, result) for source, results in _RESULTS.items() for result in results
        }
        self.unshared = Counter(
            "fetchwork_robots_unshared", "Robots.txt files that the store did not take.", registry=registry
        )

    def decided(self, verdict: RobotsVerdict) -> None:
        """Count one URL."""
        self._decided[verdict].inc()

    def looked_up(self, source: LookupSource, result: LookupResult) -> None:
        """Count one question to one source."""
        self._looked_up[source, result].inc()

    def watch_kept(self, count: Callable[[], int]) -> None:
        """Export how many origins' files this process keeps. Once for each registry."""
        Gauge(
            "fetchwork_robots_kept_origins", "Origins whose robots.txt this process keeps.", registry=self._registry
        ).set_function(count)
