"""Every setting of the gateway, with its unit."""

from common.chassis.settings import ServiceSettings
from pydantic import Field, SecretStr


class GatewaySettings(ServiceSettings):
    """The gateway's settings; names in the environment carry the prefix `FETCHWORK_`."""

    gateway_bind: str = Field(default="127.0.0.1", description="Address of the public API.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the public API.")
    api_key: SecretStr = Field(min_length=8, description="The first API key.")
    body_limit_bytes: int = Field(
        default=64 * 1024, ge=1024, le=16 * 1024 * 1024, description="Largest request body of one fetch."
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
    store_timeout_seconds: float = Field(default=5.0, ge=0.1, le=60, description="How long a read may wait for the store.")
    requests_limit: int = Field(default=500, ge=10, le=100_000, description="Requests under way at most; above it we answer 503.")
    connections_limit: int = Field(
        default=10_000,
        ge=10,
        le=1_000_000,
        description="Connections at most, idle ones included; above it a bare 503.",
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

    def faults(self) -> list[str]:
        """Contradictions between settings, as sentences."""
        faults = []
        if not self.store_url:
            faults.append("FETCHWORK_STORE_URL is missing: the gateway reads through the store's internal API.")
        for name in ("requests_limit", "feed_clients_limit", "waits_limit"):
            if getattr(self, name) > self.connections_limit:
                faults.append(
                    f"FETCHWORK_{name.upper()} is {getattr(self, name)} and FETCHWORK_CONNECTIONS_LIMIT "
                    f"{self.connections_limit}: each request needs a connection, so that the first could never be reached."
                )
        return faults
