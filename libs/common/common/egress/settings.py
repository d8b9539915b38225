"""What a gateway that plans and a fetcher that fetches must be told alike: where fetches may go, and who we are to hosts."""

from typing import Annotated

from pydantic import BeforeValidator, Field, IPvAnyNetwork
from pydantic_settings import NoDecode

from common.chassis.build import VERSION
from common.chassis.settings import ProcessSettings
from common.egress.policies import TargetPolicy


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_split)]


class TargetSettings(ProcessSettings):
    """Which targets there may be. Unset, they are ports 80 and 443 of public addresses and nothing else.

    Give gateways and fetchers the same: a plan is as true as these are equal.
    """

    unsafe_target_networks: Networks = Field(
        default=(),
        description="Networks (CIDR, comma separated) that may be fetched from, on any port, although they are not public. "
        "The same for gateways and fetchers.",
    )
    target_ports: Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(80, 443),
        min_length=1,
        description="Ports (comma separated) that may be dialled on public addresses. The same for gateways and fetchers.",
    )
    user_agent: str = Field(
        default=f"Fetchwork/{VERSION} (+https://example.invalid/bot)",
        pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$",
        description="Sent as User-Agent unless a fetch sets its own; name yourself and a page about your robot. "
        "Its first word is our name in robots.txt. The same for gateways and fetchers.",
    )

    @property
    def target_policy(self) -> TargetPolicy:
        """What may be fetched."""
        return TargetPolicy(ports=frozenset(self.target_ports), unsafe_networks=self.unsafe_target_networks)
