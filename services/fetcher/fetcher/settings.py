"""What an operator can set about the fetcher, checked before it starts."""

import re

from common.chassis.settings import ServiceSettings
from common.contracts.fetches import TIMEOUT_LIMIT_SECONDS
from common.egress.policies import CallbackPolicy, ProxyPolicy
from common.egress.settings import Networks, TargetSettings
from pydantic import Field, SecretStr

from fetcher.egress.budgets import Budgets
from fetcher.egress.kept import Keeping
from fetcher.egress.proxy import Proxy, read_proxy
from fetcher.large_bodies import LARGE_BODIES_DEFAULT


class FetcherSettings(TargetSettings, ServiceSettings):
    """Settings of the fetcher; each is FETCHWORK_ and its name in upper case in the environment."""

    broker_url: SecretStr = Field(description="URL of the broker Redis, which carries Celery's messages.")
    fetcher_slots: int = Field(default=256, ge=1, le=4096, description="Attempts that this process runs at once.")
    fetcher_large_bodies: int = Field(
        default=LARGE_BODIES_DEFAULT,
        ge=1,
        le=4096,
        description="Bodies above 256 KiB that this process holds in memory at once; more wait, and hold their origins back.",
    )
    fetcher_threads: int = Field(
        default=4, ge=1, le=64, description="Celery threads that take batches; each waits while no slot is free."
    )
    fetcher_drain_seconds: float = Field(
        default=65.0, le=3600, description="How long a stopping process waits for attempts in flight, in seconds."
    )
    stuck_seconds: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="A worker ends itself when it took no command for so long although some waited and slots were free.",
    )
    unsafe_callback_networks: Networks = Field(
        default=(),
        description="Networks (CIDR, comma separated) that may be delivered to, on any port, although they are not public.",
    )
    unsafe_proxy_networks: Networks = Field(
        default=(),
        description="Networks (CIDR, comma separated) where the outgoing proxy may be although they are not public.",
    )
    egress_proxy_url: SecretStr = Field(
        default=SecretStr(""),
        description="Outgoing proxy as http://[user:password@]host[:port]; every fetch goes through it when set.",
    )
    contact: str = Field(
        default="",
        max_length=254,
        pattern=r"^([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)?$",
        description="Mailbox of whoever answers for this robot, sent as From (RFC 9110 section 10.1.2); not sent when empty.",
    )
    connect_timeout_seconds: float = Field(
        default=5.0, gt=0, le=60, description="Limit of TCP, proxy and TLS together until a connection is ready, in seconds."
    )
    first_byte_timeout_seconds: float = Field(
        default=30.0, gt=0, le=60, description="Limit from a sent request to the end of the response head, in seconds."
    )
    idle_timeout_seconds: float = Field(
        default=15.0, gt=0, le=60, description="Limit between two reads of a response body, in seconds."
    )
    idle_connection_seconds: float = Field(
        default=15.0, gt=0, le=300, description="How long a connection is kept for the next request to its origin, in seconds."
    )
    idle_connections: int = Field(
        default=512, ge=0, le=65_536, description="Most connections kept idle, to all origins; then the longest idle is closed."
    )
    header_limit_bytes: int = Field(
        default=64 * 1024, ge=1024, le=1024 * 1024, description="Largest header block of a response, in bytes."
    )
    header_limit_lines: int = Field(default=128, ge=8, le=4096, description="Most header lines of a response.")
    header_line_limit_bytes: int = Field(
        default=16 * 1024, ge=1024, le=256 * 1024, description="Longest header line of a response, in bytes."
    )
    redirect_limit: int = Field(default=5, ge=0, le=20, description="Most redirects that are followed in one attempt.")
    decoded_ratio_limit: int = Field(
        default=200, ge=2, le=100_000, description="Most decoded bytes for one on the wire, after the first 1 MiB decoded."
    )
    wire_slack_bytes: int = Field(
        default=64 * 1024, ge=0, le=16 * 1024 * 1024, description="What a body may take on the wire beyond max_bytes, in bytes."
    )

    @property
    def budgets(self) -> Budgets:
        """What one attempt may use."""
        return Budgets(
            connect_seconds=self.connect_timeout_seconds,
            first_byte_seconds=self.first_byte_timeout_seconds,
            idle_seconds=self.idle_timeout_seconds,
            header_bytes=self.header_limit_bytes,
            header_lines=self.header_limit_lines,
            header_line_bytes=self.header_line_limit_bytes,
            redirects=self.redirect_limit,
            decoded_ratio=self.decoded_ratio_limit,
            wire_slack_bytes=self.wire_slack_bytes,
        )

    @property
    def keeping(self) -> Keeping:
        """How connections are kept for the next request."""
        return Keeping(seconds=self.idle_connection_seconds, limit=self.idle_connections)

    @property
    def callback_policy(self) -> CallbackPolicy:
        """Where deliveries may go."""
        return CallbackPolicy(unsafe_networks=self.unsafe_callback_networks)

    @property
    def proxy_policy(self) -> ProxyPolicy:
        """Where the outgoing proxy may be."""
        return ProxyPolicy(unsafe_networks=self.unsafe_proxy_networks)

    @property
    def egress_proxy(self) -> Proxy | None:
        """The outgoing proxy, if there is one. Raises ValueError when its URL is none of ours."""
        url = self.egress_proxy_url.get_secret_value()
        return read_proxy(url, policy=self.proxy_policy) if url else None

    def faults(self) -> list[str]:
        """Settings that contradict each other, as sentences."""
        faults = super().faults()
        if not re.fullmatch(r"https?://[^\s/]+/?", self.store_url):
            faults.append("FETCHWORK_STORE_URL: set the base URL of the store's internal API, such as http://store:8001")
        if self.fetcher_drain_seconds < TIMEOUT_LIMIT_SECONDS:
            faults.append(
                f"FETCHWORK_FETCHER_DRAIN_SECONDS: must be at least {TIMEOUT_LIMIT_SECONDS:g}, the longest timeout of a fetch"
            )
        try:
            self.egress_proxy
        except ValueError as error:
            faults.append(f"FETCHWORK_EGRESS_PROXY_URL: {error}")
        return faults
