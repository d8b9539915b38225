"""What a plan takes and gives: URLs in, and for each what a fetch of it would meet."""

from enum import StrEnum
from typing import Annotated, Literal

from common.contracts.hosts import HostState, PaceView
from common.contracts.views import Waiting
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

SUBMISSION_EXAMPLES: list[JsonValue] = [
    {"urls": ["https://EXAMPLE.com:443/prices#top", "http://169.254.169.254/", "ftp://a.example/"]}
]
PLAN_EXAMPLES: list[JsonValue] = [
    {
        "items": [
            {
                "url": "https://EXAMPLE.com:443/prices#top",
                "normalized_url": "https://example.com/prices",
                "egress": {"verdict": "allow", "reason": "public"},
                "robots": {
                    "verdict": "allowed",
                    "line": "Allow: /prices",
                    "crawl_delay_seconds": 2.0,
                    "fetched_at": "2026-12-24T17:00:00Z",
                    "is_stale": False,
                },
                "pace": {
                    "rule": "robots",
                    "delay_ms": 2000,
                    "max_in_flight": 1,
                    "state": "open",
                    "waiting": {"reason": "host_pace", "until": "2026-12-24T18:00:01Z"},
                },
                "earliest_at": "2026-12-24T18:00:01Z",
            },
            {
                "url": "ftp://a.example/",
                "egress": {"verdict": "refuse", "reason": "deny_scheme", "detail": "Only http and https URLs are fetched."},
            },
        ]
    }
]


def _writable(text: str) -> str:
    """Text that can be given back: JSON can spell half of a surrogate pair, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeError as error:
        raise PydanticCustomError("text_refused", "This is not Unicode text.") from error
    return text


class PlanSubmission(BaseModel):
    """The body of `POST /v1/fetches:plan`; unknown members are refused. URLs are taken as they are, malformed ones too."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": SUBMISSION_EXAMPLES})

    urls: list[Annotated[str, AfterValidator(_writable)]] = Field(
        min_length=1, description="What would be fetched: 1 to 100 of them, unless set otherwise."
    )


class EgressReason(StrEnum):
    """Why a URL may be fetched or not. All but `unresolved` are verdicts that the hops of a fetch have too.

    Allowed are `public`; `unsafe_network`, which an operator listed; and `unresolved`: the name has no address now, so that a
    fetch would fail as `dns`. `deny_url` and `deny_scheme` are about the URL as it is written, `deny_port` about its port,
    `deny_name` about a name of private networks. All others say what kind of address the host is or has; one is enough to refuse.
    """

    PUBLIC = "public"
    UNSAFE_NETWORK = "unsafe_network"
    UNRESOLVED = "unresolved"
    DENY_URL = "deny_url"
    DENY_SCHEME = "deny_scheme"
    DENY_PORT = "deny_port"
    DENY_NAME = "deny_name"
    DENY_UNSPECIFIED = "deny_unspecified"
    DENY_LOOPBACK = "deny_loopback"
    DENY_PRIVATE = "deny_private"
    DENY_SHARED = "deny_shared"
    DENY_LINK_LOCAL = "deny_link_local"
    DENY_SPECIAL = "deny_special"
    DENY_DOCUMENTATION = "deny_documentation"
    DENY_MULTICAST = "deny_multicast"
    DENY_RESERVED = "deny_reserved"
    DENY_PLATFORM = "deny_platform"
    DENY_EMBEDS_IPV4 = "deny_embeds_ipv4"
    DENY_NOT_UNICAST = "deny_not_unicast"
    DENY_NO_POLICY = "deny_no_policy"

    @property
    def is_refusal(self) -> bool:
        """Whether a fetch would be refused."""
        return self.startswith("deny_")


class EgressPlan(BaseModel):
    """Whether the URL may be dialled. `detail` says what to change about one that cannot be read; no address is ever told."""

    verdict: Literal["allow", "refuse"]
    reason: EgressReason
    detail: str | None = None


class RobotsPlanVerdict(StrEnum):
    """What the host's robots.txt says (RFC 9309), as far as any fetcher has read it; a plan does not ask for it.

    `unknown`: nobody has, or what was known no longer holds. `unavailable` (4xx) allows all, `unreachable` (5xx) nothing yet.
    """

    ALLOWED = "allowed"
    DISALLOWED = "disallowed"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class RobotsPlan(BaseModel):
    """What would come of `robots: obey`. `is_stale`: the file has expired, and a fetch asks for it again first."""

    verdict: RobotsPlanVerdict
    line: str | None = Field(default=None, description="The line that decides, of files that are not very long.")
    crawl_delay_seconds: float | None = Field(default=None, description="What the file asks for.")
    fetched_at: AwareDatetime | None = None
    is_stale: bool = False


class PacePlan(PaceView):
    """The pace of the host: that in force, or the default for a host that nobody met.

    `state` is what an operator set: fetches to a `banned` host fail, and `until` is when that ends. `waiting` is what a fetch
    would wait for.
    """

    state: HostState
    waiting: Waiting | None = None


class PlanItem(BaseModel):
    """What a fetch of one URL would meet now.

    `robots`, `pace` and `earliest_at` are null when egress refuses, and when the ledger cannot be asked.
    """

    url: str = Field(description="As it was given.")
    normalized_url: str | None = Field(default=None, description="As it would be requested; null when it cannot be read.")
    egress: EgressPlan
    robots: RobotsPlan | None = Field(default=None, description="Null too where the file is too large to look into for a plan.")
    pace: PacePlan | None = None
    earliest_at: AwareDatetime | None = Field(
        default=None,
        description="When an attempt may start as far as the host's rules tell, whatever robots.txt says and however many "
        "fetches wait there; null when it would be refused or the host is banned.",
    )


class PlanDocument(BaseModel):
    """One item a URL, in their order."""

    model_config = ConfigDict(json_schema_extra={"examples": PLAN_EXAMPLES})

    items: list[PlanItem]
