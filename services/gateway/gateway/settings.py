"""Every setting of the gateway, with its unit."""

from common.chassis.settings import ServiceSettings
from pydantic import Field, SecretStr

REVOCATION_SECONDS = 30
"""How long a revoked key may still be good on any gateway."""


class GatewaySettings(ServiceSettings):
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
        if self.key_poll_seconds + self.store_timeout_seconds > REVOCATION_SECONDS:
            faults.append(
                "FETCHWORK_KEY_POLL_SECONDS and FETCHWORK_STORE_TIMEOUT_SECONDS add up to more than 30: "
                "a key that was revoked would be good for longer than we promise."
            )
        return faults
