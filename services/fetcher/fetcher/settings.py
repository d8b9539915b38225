"""What an operator can set about the fetcher, checked before it starts."""

import re
from typing import Annotated

from common.chassis.build import VERSION
from common.chassis.settings import ServiceSettings
from common.contracts.fetches import TIMEOUT_LIMIT_SECONDS
from pydantic import BeforeValidator, Field, IPvAnyNetwork, SecretStr
from pydantic_settings import NoDecode

from fetcher.egress.addresses import EgressPolicy

Port = Annotated[int, Field(ge=1, le=65535)]


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class FetcherSettings(ServiceSettings):
    """Settings of the fetcher; each is FETCHWORK_ and its name in upper case in the environment."""

    broker_url: SecretStr = Field(description="URL of the broker Redis, which carries Celery's messages.")
    fetcher_slots: int = Field(default=256, ge=1, le=4096, description="Attempts that this process runs at once.")
    fetcher_threads: int = Field(
        default=4, ge=1, le=64, description="Celery threads that take batches; each waits while no slot is free."
    )
    fetcher_drain_seconds: float = Field(
        default=65.0, le=3600, description="How long a stopping process waits for attempts in flight, in seconds."
    )
    unsafe_target_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(),
        description="Networks (CIDR, comma separated) that may be fetched from, on any port, although they are not public.",
    )
    target_ports: Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(80, 443), min_length=1, description="Ports (comma separated) that may be dialled on public addresses."
    )
    user_agent: str = Field(
        default=f"Fetchwork/{VERSION} (+https://example.invalid/bot)",
        pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$",
        description="Sent as User-Agent unless a fetch sets its own; name yourself and a page about your robot.",
    )

    @property
    def egress_policy(self) -> EgressPolicy:
        """What these settings allow to be dialled."""
        return EgressPolicy(ports=frozenset(self.target_ports), unsafe_networks=self.unsafe_target_networks)

    def faults(self) -> list[str]:
        """Settings that contradict each other, as sentences."""
        faults = super().faults()
        if not re.fullmatch(r"https?://[^\s/]+/?", self.store_url):
            faults.append("FETCHWORK_STORE_URL: set the base URL of the store's internal API, such as http://store:8001")
        if self.fetcher_drain_seconds < TIMEOUT_LIMIT_SECONDS:
            faults.append(
                f"FETCHWORK_FETCHER_DRAIN_SECONDS: must be at least {TIMEOUT_LIMIT_SECONDS:g}, the longest timeout of a fetch"
            )
        return faults
