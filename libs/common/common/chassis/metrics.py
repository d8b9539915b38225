"""What every service's process says of itself, in the one registry that the process has."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from redis.asyncio import Redis

from common.chassis.build import register_build_info
from common.chassis.lifecycle import Pass
from common.streams.connection import connections_of

PASS_BUCKETS_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)
PASS_RESULTS = ("ok", "failed")
CONNECTION_STATES = ("in_use", "idle")


class ChassisMetrics:
    """Build, process, dependencies, Redis connections, limits and drain; names start with `fetchwork_` or `process_`.

    Which `dependencies` are watched and which Redis `pools` there are is said at once, so that their series are there from the
    start: 0 until they are known. Set `draining` while the process stops.
    """

    def __init__(
        self, registry: CollectorRegistry, *, service: str, dependencies: Sequence[str], pools: Sequence[str]
    ) -> None:
        register_build_info(registry, service=service)
        ProcessCollector(registry=registry)
        self.dependency_up = Gauge(
            "fetchwork_dependency_up",
            "1 when this process could use it at the last try, else 0.",
            ["dependency"],
            registry=registry,
        )
        self.dependency_checked = Gauge(
            "fetchwork_dependency_checked_timestamp_seconds", "When all were last tried; 0 before.", registry=registry
        )
        self.event_loop_lag = Gauge(
            "fetchwork_event_loop_lag_seconds",
            "How late the event loop woke its watcher, at worst in the last minute.",
            registry=registry,
        )
        self.draining = Gauge("fetchwork_draining", "1 while this process stops in order, else 0.", registry=registry)
        self.limit = Gauge(
            "fetchwork_limit",
            "What a link of the chain takes in at most before it waits or refuses.",
            ["link"],
            registry=registry,
        )
        self._connections = Gauge(
            "fetchwork_redis_connections", "Connections to Redis that are open.", ["pool", "state"], registry=registry
        )
        for dependency in dependencies:
            self.dependency_up.labels(dependency=dependency)
        for pool in pools:
            self.limit.labels(link=f"redis_connections_{pool}")
            for state in CONNECTION_STATES:
                self._connections.labels(pool=pool, state=state)

    def watch_pool(self, pool: str, redis: Redis) -> None:
        """From now on show the connections of this client, and how many it may have."""
        self.limit.labels(link=f"redis_connections_{pool}").set(connections_of(redis).limit)
        self._connections.labels(pool=pool, state="in_use").set_function(lambda: connections_of(redis).in_use)
        self._connections.labels(pool=pool, state="idle").set_function(lambda: connections_of(redis).idle)


class LoopMetrics:
    """The passes of a process's background loops; give `note` to `run_loop`. One for each registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._passes = Counter(
            "fetchwork_loop_passes_total", "Passes of a background loop.", ["loop", "result"], registry=registry
        )
        self._failures = Counter(
            "fetchwork_loop_failures_total", "Passes of a background loop that failed.", ["loop"], registry=registry
        )
        self._seconds = Histogram(
            "fetchwork_loop_pass_duration_seconds",
            "One pass of a background loop, with what it waited for work.",
            ["loop"],
            buckets=PASS_BUCKETS_SECONDS,
            registry=registry,
        )
        self._last_success = Gauge(
            "fetchwork_loop_last_success_timestamp_seconds", "When a pass last went well; 0 before.", ["loop"], registry=registry
        )

    def expect(self, *loops: str) -> None:
        """Show these loops from now on, also before their first pass."""
        for loop in loops:
            self._failures.labels(loop=loop)
            self._seconds.labels(loop=loop)
            self._last_success.labels(loop=loop)
            for result in PASS_RESULTS:
                self._passes.labels(loop=loop, result=result)

    def note(self, done: Pass) -> None:
        """One pass is over."""
        self._passes.labels(loop=done.loop, result="ok" if done.is_ok else "failed").inc()
        self._seconds.labels(loop=done.loop).observe(done.seconds)
        if done.is_ok:
            self._last_success.labels(loop=done.loop).set_to_current_time()
        else:
            self._failures.labels(loop=done.loop).inc()
