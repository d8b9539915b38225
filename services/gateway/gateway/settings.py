"""Every setting of the gateway, with its unit."""

from common.chassis.settings import ServiceSettings
from common.contracts.plans import PLAN_LIMIT
from common.egress.lookup import LOOKUP_THREADS, LOOKUP_TIMEOUT_SECONDS
from common.egress.settings import TargetSettings
from pydantic import Field, SecretStr


class GatewaySettings(TargetSettings, ServiceSettings):
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
        if self.requests_limit > self.connections_limit:
            faults.append(
                f"FETCHWORK_REQUESTS_LIMIT is {self.requests_limit} and FETCHWORK_CONNECTIONS_LIMIT {self.connections_limit}: "
                "each request needs a connection, so that the first could never be reached."
            )
        return faults
