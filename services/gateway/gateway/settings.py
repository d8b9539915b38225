"""Every setting of the gateway, with its unit."""

from common.chassis.settings import ServiceSettings
from common.contracts.plans import PLAN_LIMIT
from common.egress.lookup import LOOKUP_THREADS, LOOKUP_TIMEOUT_SECONDS
from common.egress.settings import TargetSettings
from pydantic import Field, SecretStr

from gateway.batches.limits import BatchLimits, BatchSettings, BodyLimits
from gateway.idempotency.limits import STANDARD, RecordLimits

REVOCATION_SECONDS = 30
"""How long a revoked key may still be good on any gateway."""


class GatewaySettings(TargetSettings, ServiceSettings):
    """The gateway's settings; names in the environment carry the prefix `FETCHWORK_`."""

    gateway_bind: str = Field(default="127.0.0.1", description="Address of the public API.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the public API.")
    api_key: SecretStr = Field(min_length=8, description="The first API key.")
    key_environment: str = Field(
        default="live", pattern=r"^[a-z0-9]{1,16}$", description="What new API keys carry behind `ftch_`, to tell them apart."
    )
    key_poll_seconds: float = Field(
        default=3.0, ge=0.2, le=25, description="How often to ask the store which API keys changed, such as were revoked."
    )
    key_stale_limit_seconds: float = Field(
        default=86_400,
        ge=30,
        le=2_592_000,
        description="How long API keys are believed while the store cannot be asked; after that they are answered 503.",
    )
    key_lookups_limit: int = Field(
        default=50, ge=1, le=10_000, description="Requests with unknown API keys that wait for the store at most; above it 503."
    )
    body_limit_bytes: int = Field(
        default=64 * 1024, ge=1024, le=16 * 1024 * 1024, description="Largest request body of one fetch."
    )
    body_timeout_seconds: float = Field(
        default=30.0, ge=0.1, le=600, description="How long the body of any request but a batch may take before we answer 408."
    )
    ingesting_limit_fetches: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="Fetches accepted but not yet in the ledger at most; above it we answer 503.",
    )
    accept_timeout_seconds: float = Field(
        default=2.0, ge=0.1, le=30, description="How long a submission may wait for the events Redis."
    )
    quota_timeout_seconds: float = Field(
        default=1.0, ge=0.05, le=30, description="How long counting what a limited key asks for may wait for the events Redis."
    )
    store_timeout_seconds: float = Field(default=5.0, ge=0.1, le=60, description="How long a read may wait for the store.")
    store_retry_seconds: float = Field(
        default=0.5,
        ge=0,
        le=10,
        description="How long a read is tried anew at a store that refuses or closes connections; its own limit at most.",
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="How long a stopping gateway goes on serving, not ready, until callers have moved to another.",
    )
    requests_limit: int = Field(default=500, ge=10, le=100_000, description="Requests under way at most; above it we answer 503.")
    connections_limit: int = Field(
        default=10_000,
        ge=10,
        le=1_000_000,
        description="Connections at most, idle ones included; above it a bare 503.",
    )

    idempotency_retention_seconds: int = Field(
        default=STANDARD.retention_seconds,
        ge=60,
        le=7 * 24 * 3600,
        description="How long a request with an Idempotency-Key is remembered.",
    )
    idempotency_short_retention_seconds: int = Field(
        default=STANDARD.short_retention_seconds,
        ge=60,
        le=24 * 3600,
        description="The same for new ones while more than half of the limit are remembered.",
    )
    idempotency_records_limit: int = Field(
        default=STANDARD.records,
        ge=100,
        le=1_000_000_000,
        description="Requests remembered at most, some 250 bytes each; above it those with a new key are answered 503.",
    )
    idempotency_lease_seconds: int = Field(
        default=STANDARD.lease_seconds,
        ge=1,
        le=600,
        description="How long a request holds its Idempotency-Key without a sign of life; then another try takes over.",
    )
    idempotency_answer_limit_bytes: int = Field(
        default=STANDARD.answer_bytes,
        ge=1024,
        le=16 * 1024 * 1024,
        description="Largest answer that is kept for replays; a larger one is made again.",
    )
    idempotency_tenant_limit_bytes: int = Field(
        default=STANDARD.answers_of_tenant_bytes,
        ge=1024 * 1024,
        le=16 * 1024**3,
        description="Answers kept of one tenant within a retention; beyond it they are made again.",
    )
    client_stall_seconds: int = Field(
        default=120,
        ge=1,
        le=3600,
        description="How long a client may take nothing of what it is sent before its connection is dropped.",
    )
    feed_ring_entries: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Latest entries of the feed kept in memory; older ones are read from Redis.",
    )
    feed_ring_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1,
        le=1024 * 1024 * 1024,
        description="Events of the feed kept in memory; what is sent of them takes as much again.",
    )
    feed_clients_limit: int = Field(
        default=500, ge=1, le=100_000, description="Requests for events under way at most; above it we answer 503."
    )
    feed_clients_per_key_limit: int = Field(
        default=100, ge=1, le=100_000, description="The same of one API key; above it we answer 429."
    )
    feed_ping_seconds: float = Field(
        default=15.0, ge=0.1, le=300, description="How often a stream of events pings, and looks whether its key is still good."
    )
    feed_send_timeout_seconds: float = Field(
        default=30.0, ge=0.1, le=600, description="How long a client may take for a page of events before it is disconnected."
    )
    ticket_ttl_seconds: int = Field(
        default=3600, ge=1, le=86_400, description="How long a ticket lets a browser connect to the stream of events."
    )
    tickets_per_key_limit: int = Field(
        default=1000, ge=1, le=1_000_000, description="Tickets that one API key may make in that time; above it we answer 429."
    )
    session_ttl_seconds: int = Field(
        default=43_200, ge=60, le=604_800, description="How long somebody stays signed in to the status page."
    )
    sessions_per_key_limit: int = Field(
        default=100, ge=1, le=100_000, description="Sessions that one API key may open in that time; above it nobody does."
    )
    overview_max_age_seconds: float = Field(
        default=1.0, ge=0, le=60, description="How old the status page's numbers may be; all who look share one reading."
    )
    public_https: bool = Field(
        default=False, description="Browsers come by https, through a proxy that ends TLS: their cookies are `Secure`."
    )
    wait_limit_seconds: float = Field(
        default=30.0, ge=1, le=300, description="How long a request waits at most, whatever `wait` asks for."
    )
    waits_limit: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="Requests that wait for a fetch at once at most; above it the answer comes without waiting.",
    )
    waits_per_key_limit: int = Field(default=250, ge=1, le=100_000, description="The same of one API key.")

    batches_limit: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Batches that arrive at once at most, up to some 20 MB of memory each; above it we answer 503.",
    )
    batches_per_key_limit: int = Field(
        default=20, ge=1, le=100_000, description="The same of one API key; above it we answer 429."
    )
    batch_limit_bytes: int = Field(
        default=1024**3, ge=1024, le=64 * 1024**3, description="Largest batch as NDJSON, which is never in memory whole."
    )
    batch_json_limit_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024, description="Largest batch as one JSON document, which is."
    )
    batch_limit_lines: int = Field(default=1_000_000, ge=1, le=100_000_000, description="Lines in one batch at most.")
    batch_errors_limit: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Refused lines that an answer names, 500 bytes each; more are counted."
    )
    batch_chunk_fetches: int = Field(
        default=250, ge=1, le=2000, description="Fetches of a batch that are promised together, fewer where they exceed 1 MiB."
    )
    batch_patience_seconds: float = Field(
        default=60.0, ge=0.1, le=3600, description="How long a batch waits for room in the ledger's backlog before we answer 503."
    )
    batch_idle_seconds: float = Field(
        default=30.0, ge=0.1, le=600, description="How long the sender of a batch may be silent before we answer 408."
    )
    plan_urls_limit: int = Field(default=100, ge=1, le=PLAN_LIMIT, description="URLs in one plan at most.")
    plan_lookups_limit: int = Field(
        default=LOOKUP_THREADS, ge=1, le=1024, description="Names looked up at once for plans; more wait within their time."
    )
    plan_lookup_timeout_seconds: float = Field(
        default=LOOKUP_TIMEOUT_SECONDS,
        gt=0,
        le=30,
        description="How long a plan looks a name up, its wait included, in seconds; then it is `unresolved`.",
    )

    def faults(self) -> list[str]:
        """Contradictions between settings, as sentences."""
        faults = []
        if not self.store_url:
            faults.append("FETCHWORK_STORE_URL is missing: the gateway reads through the store's internal API.")
        for name in ("requests_limit", "feed_clients_limit", "waits_limit", "batches_limit"):
            if getattr(self, name) > self.connections_limit:
                faults.append(
                    f"FETCHWORK_{name.upper()} is {getattr(self, name)} and FETCHWORK_CONNECTIONS_LIMIT "
                    f"{self.connections_limit}: each request needs a connection, so that the first could never be reached."
                )
        work_seconds = self.accept_timeout_seconds + self.store_timeout_seconds
        if not work_seconds < self.idempotency_lease_seconds < self.idempotency_short_retention_seconds:
            faults.append(
                f"FETCHWORK_IDEMPOTENCY_LEASE_SECONDS is {self.idempotency_lease_seconds}: it must exceed what a request may "
                f"wait for the events Redis and the store, {work_seconds:g}, and stay below the shortest retention, "
                f"{self.idempotency_short_retention_seconds}."
            )
        if self.idempotency_short_retention_seconds > self.idempotency_retention_seconds:
            faults.append("FETCHWORK_IDEMPOTENCY_SHORT_RETENTION_SECONDS exceeds FETCHWORK_IDEMPOTENCY_RETENTION_SECONDS.")
        if self.key_poll_seconds + self.store_timeout_seconds > REVOCATION_SECONDS:
            faults.append(
                "FETCHWORK_KEY_POLL_SECONDS and FETCHWORK_STORE_TIMEOUT_SECONDS add up to more than 30: "
                "a key that was revoked would be good for longer than we promise."
            )
        return faults

    @property
    def batches(self) -> BatchSettings:
        """How batches are taken in."""
        return BatchSettings(
            body=BodyLimits(
                ndjson_bytes=self.batch_limit_bytes,
                json_bytes=self.batch_json_limit_bytes,
                line_bytes=self.body_limit_bytes,
                idle_seconds=self.batch_idle_seconds,
            ),
            intake=BatchLimits(
                lines=self.batch_limit_lines,
                line_bytes=self.body_limit_bytes,
                errors=self.batch_errors_limit,
                chunk_fetches=self.batch_chunk_fetches,
                patience_seconds=self.batch_patience_seconds,
            ),
        )

    @property
    def record_limits(self) -> RecordLimits:
        """How much is remembered about requests with an Idempotency-Key."""
        return RecordLimits(
            retention_seconds=self.idempotency_retention_seconds,
            short_retention_seconds=self.idempotency_short_retention_seconds,
            records=self.idempotency_records_limit,
            lease_seconds=self.idempotency_lease_seconds,
            answer_bytes=self.idempotency_answer_limit_bytes,
            answers_of_tenant_bytes=self.idempotency_tenant_limit_bytes,
        )
