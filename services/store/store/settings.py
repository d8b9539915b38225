"""Every setting of the store, with its unit, and the cross-checks that refuse to start on a contradiction."""

from common.chassis.settings import ProcessSettings, ServiceSettings
from common.contracts.fetches import BODY_LIMIT_BYTES
from common.contracts.hosts import HOST_MAX_IN_FLIGHT_LIMIT
from pydantic import Field, SecretStr


REPORT_SECONDS = 1.0
"""What a worker keeps free at the end of a lease, so that its outcome can still be published inside it."""

IDEMPOTENCY_SECONDS = 86_400
"""How long a gateway remembers what a request with an Idempotency-Key came to."""


class MigrationSettings(ProcessSettings):
    """All that `python -m store migrate` needs: the schema's owner, and no other server."""

    database_url: SecretStr = Field(description="Postgres, as postgresql://user:password@host:port/database.")


class StoreSettings(MigrationSettings, ServiceSettings):
    """The store's settings; names in the environment carry the prefix `FETCHWORK_`."""

    broker_url: SecretStr = Field(description="URL of the broker Redis.")
    store_bind: str = Field(default="127.0.0.1", description="Address of the internal API.")
    store_port: int = Field(ge=0, le=65535, description="Port of the internal API.")
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="How long a stopping store goes on answering, not ready, until callers have moved to another.",
    )
    migrate_on_start: bool = Field(default=True, description="Bring the schema up to date before serving.")
    database_pool_size: int = Field(default=12, ge=4, le=100, description="Connections to Postgres at most.")
    ingest_batch_entries: int = Field(default=200, ge=1, le=2000, description="Accepted entries in one transaction at most.")
    record_batch_entries: int = Field(default=200, ge=1, le=500, description="Attempts in one transaction at most.")
    takeover_idle_ms: int = Field(
        default=30_000, ge=500, le=600_000, description="Entries of another store left idle this long are taken over."
    )
    dispatch_claim_fetches: int = Field(default=256, ge=1, le=2000, description="Fetches claimed in one transaction at most.")
    dispatch_batch_fetches: int = Field(default=128, ge=1, le=500, description="Fetches in one command at most.")
    dispatch_leased_fetches: int = Field(
        default=2000, ge=1, le=100_000, description="Fetches that are out at most, those that wait in trains included."
    )
    dispatch_rounds: float = Field(
        default=2.0, ge=1, le=10, description="Trains that are out at most, as a multiple of worker slots."
    )
    dispatch_poll_ms: int = Field(
        default=100, ge=10, le=5000, description="How often to look for due work when nothing wakes us."
    )
    lease_margin_seconds: float = Field(
        default=30.0,
        ge=1,
        le=600,
        description="Added to a fetch's own timeout to make its lease: waiting for a slot, and reporting.",
    )
    abandon_after_dispatches: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Dispatches without any outcome after which a fetch fails as abandoned; the last is made alone.",
    )
    host_delay_ms: int = Field(
        default=0,
        ge=0,
        le=300_000,
        description="From the end of one attempt on a host to the start of the next, at least; with one there is one at a time.",
    )
    host_max_in_flight: int = Field(
        default=4, ge=1, le=HOST_MAX_IN_FLIGHT_LIMIT, description="Attempts on one host at once, while it has no delay."
    )
    train_seconds: float = Field(
        default=2.0,
        ge=0,
        le=60,
        description="How long a worker may be busy with one host's next fetches; it starts no further one of them later.",
    )
    train_fetches: int = Field(default=100, ge=1, le=1000, description="Fetches in one train at most.")
    breaker_failures: int = Field(
        default=5, ge=1, le=1000, description="Connections to a host that fail in a row until it is left alone."
    )
    breaker_seconds: float = Field(
        default=10.0, ge=0.1, le=3600, description="How long it is left alone at first; doubles with each probe that fails."
    )
    breaker_limit_seconds: float = Field(default=300.0, ge=0.1, le=86_400, description="How long it is left alone at most.")
    breaker_patience_seconds: float = Field(
        default=300.0, ge=1, le=604_800, description="How long due fetches wait for a host that nobody reaches; then they fail."
    )
    priority_step_seconds: float = Field(
        default=600.0, ge=0, le=86_400, description="How much waiting one level of priority is worth."
    )
    host_retention_seconds: float = Field(
        default=604_800, ge=3600, le=7_776_000, description="How long the pace of a host is kept after its last attempt."
    )
    coalesce_wait_seconds: float = Field(
        default=30.0, ge=1, le=600, description="How long a fetch waits for an equal one's exchange before it makes its own."
    )
    robots_retention_seconds: float = Field(
        default=604_800, ge=0, le=7_776_000, description="How long an expired robots.txt is kept, to serve when its host is away."
    )
    robots_limit_bytes: int = Field(
        default=1024**3, ge=1024**2, description="All robots.txt files together at most; the first to expire goes first."
    )
    fetch_retention_seconds: float = Field(
        default=0, ge=0, description="How long a finished fetch is kept, with attempts and content; 0 keeps it for ever."
    )
    dead_letter_retention_seconds: float = Field(
        default=0, ge=0, description="How long a parked message is kept, put back or not; 0 keeps it for ever."
    )
    prune_limit_rows: int = Field(
        default=500, ge=1, le=5000, description="Rows that one pass of a pruner looks at, and deletes, at most."
    )
    accepted_retention_seconds: float = Field(
        default=3600, ge=0, le=604_800, description="How long acknowledged accept events stay in the stream."
    )
    feed_retention_seconds: float = Field(
        default=86_400, ge=60, le=2_592_000, description="How long the public feed reaches back."
    )
    traffic_retention_seconds: float = Field(
        default=604_800, ge=7200, le=7_776_000, description="How long the samples of traffic are kept, one a minute."
    )
    content_upload_limit_bytes: int = Field(
        default=BODY_LIMIT_BYTES + 1024 * 1024, ge=1024, description="Largest compressed body accepted at the content endpoint."
    )

    database_limit_bytes: int = Field(
        default=50 * 1024**3,
        ge=1024**2,
        description="Space that the database was given. Nothing is refused at it: it is shown beside what is used, for alerts.",
    )
    metrics_top_hosts: int = Field(
        default=0, ge=0, le=50, description="Hosts with most queued fetches that metrics name; 0 names none, hosts are many."
    )

    @property
    def limits(self) -> dict[str, int]:
        """What each link of the chain takes in at most, by the link's name."""
        return {
            "leased_fetches": self.dispatch_leased_fetches,
            "claim_fetches": self.dispatch_claim_fetches,
            "batch_fetches": self.dispatch_batch_fetches,
            "database_connections": self.database_pool_size,
            "database_bytes": self.database_limit_bytes,
            "ingest_batch_entries": self.ingest_batch_entries,
            "record_batch_entries": self.record_batch_entries,
            "prune_rows": self.prune_limit_rows,
        }

    def faults(self) -> list[str]:
        """Contradictions between settings, as sentences."""
        return [sentence for is_wrong, sentence in self._rules() if is_wrong]

    def _rules(self) -> list[tuple[bool, str]]:
        return [
            (
                self.events_url.get_secret_value() == self.broker_url.get_secret_value(),
                "FETCHWORK_EVENTS_URL and FETCHWORK_BROKER_URL name one Redis; events must last and the broker may be wiped.",
            ),
            (
                self.dispatch_batch_fetches > self.dispatch_claim_fetches,
                "FETCHWORK_DISPATCH_BATCH_FETCHES exceeds FETCHWORK_DISPATCH_CLAIM_FETCHES; a command holds one claim at most.",
            ),
            (
                self.dispatch_claim_fetches > self.dispatch_leased_fetches,
                "FETCHWORK_DISPATCH_CLAIM_FETCHES exceeds FETCHWORK_DISPATCH_LEASED_FETCHES; one claim could not be out.",
            ),
            (
                self.train_fetches > self.dispatch_claim_fetches,
                "FETCHWORK_TRAIN_FETCHES exceeds FETCHWORK_DISPATCH_CLAIM_FETCHES; a train is claimed at once.",
            ),
            (
                self.lease_margin_seconds <= REPORT_SECONDS,
                "FETCHWORK_LEASE_MARGIN_SECONDS is not above 1: a lease must exceed deadline and report of its fetch.",
            ),
            (
                self.dispatch_poll_ms / 1000 >= self.lease_margin_seconds,
                "FETCHWORK_DISPATCH_POLL_MS is not below FETCHWORK_LEASE_MARGIN_SECONDS; leases would end before anyone looks.",
            ),
            (
                self.breaker_seconds > self.breaker_limit_seconds,
                "FETCHWORK_BREAKER_SECONDS exceeds FETCHWORK_BREAKER_LIMIT_SECONDS; the first rest is the shortest.",
            ),
            (
                self.breaker_patience_seconds < self.breaker_seconds,
                "FETCHWORK_BREAKER_PATIENCE_SECONDS is below FETCHWORK_BREAKER_SECONDS; fetches would fail before a probe.",
            ),
            (
                0 < self.fetch_retention_seconds < IDEMPOTENCY_SECONDS,
                "FETCHWORK_FETCH_RETENTION_SECONDS is neither 0 nor a day: an Idempotency-Key would name a fetch that is gone.",
            ),
        ]
