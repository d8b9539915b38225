"""What the store sees of the servers that it stands on: Postgres and the two Redis."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from store.database import Pool, TransactionResult

ACQUIRE_BUCKETS_SECONDS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5)


class ServerMetrics:
    """Use and size of the servers; an observer of the pool (`PoolObserver`).

    What is read from a server has no series while it is not known.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "fetchwork_database_connections",
            "Connections of this store to Postgres, by whether they are lent out.",
            ["state"],
            registry=registry,
        )
        self.acquire_seconds = Histogram(
            "fetchwork_database_acquire_seconds",
            "How long a transaction waited for a connection, in vain included.",
            buckets=ACQUIRE_BUCKETS_SECONDS,
            registry=registry,
        )
        self.transactions = Counter(
            "fetchwork_database_transactions_total",
            "Transactions by result; `retried` counts each failed try after which another followed.",
            ["result"],
            registry=registry,
        )
        for result in TransactionResult:
            self.transactions.labels(result=result.value)
        self.database_bytes = Gauge(
            "fetchwork_database_bytes", "Size of the database; its limit is what it was given.", registry=registry
        )
        self.table_bytes = Gauge(
            "fetchwork_table_bytes", "Size of a table with its indexes and long values.", ["table"], registry=registry
        )
        self._add_redis(registry)

    def _add_redis(self, registry: CollectorRegistry) -> None:
        self.redis_memory = Gauge(
            "fetchwork_redis_memory_bytes", "Memory that a Redis uses for its data.", ["redis"], registry=registry
        )
        self.redis_memory_limit = Gauge(
            "fetchwork_redis_memory_limit_bytes", "Its `maxmemory`; 0 when it has none.", ["redis"], registry=registry
        )
        self.redis_persistence_ok = Gauge(
            "fetchwork_redis_persistence_ok",
            "Whether its last write to the append-only file and its last background save went well.",
            ["redis"],
            registry=registry,
        )
        self.broker_commands = Gauge(
            "fetchwork_broker_commands", "Commands in the broker that no fetcher has taken yet.", registry=registry
        )

    def waited(self, seconds: float) -> None:
        """A transaction waited so long for a connection."""
        self.acquire_seconds.observe(seconds)

    def ended(self, result: TransactionResult) -> None:
        """A transaction, or one try of it, ended."""
        self.transactions.labels(result=result.value).inc()

    def show_connections(self, pool: Pool) -> None:
        """Show how many connections the pool has, whenever somebody looks."""
        self.connections.labels(state="in_use").set_function(lambda: pool.get_size() - pool.get_idle_size())
        self.connections.labels(state="idle").set_function(pool.get_idle_size)

    def show_redis(self, name: str, facts: Mapping[str, object]) -> None:
        """Show what INFO says, its sections `memory` and `persistence`."""
        states = (facts.get("aof_last_write_status", "ok"), facts.get("rdb_last_bgsave_status", "ok"))
        self.redis_memory.labels(redis=name).set(float(str(facts["used_memory"])))
        self.redis_memory_limit.labels(redis=name).set(float(str(facts["maxmemory"])))
        self.redis_persistence_ok.labels(redis=name).set(states == ("ok", "ok"))

    def forget_redis(self, name: str) -> None:
        """Show nothing of a Redis that says nothing: what it said last is not true for ever."""
        for gauge in (self.redis_memory, self.redis_memory_limit, self.redis_persistence_ok):
            gauge.remove(name)
