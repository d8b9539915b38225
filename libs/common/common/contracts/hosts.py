"""Hosts as operators see them: the pace in force and who set it, what waits, and what an operator may change."""

from enum import StrEnum
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from common.contracts.envelope import Message
from common.contracts.fetches import ErrorType, OutcomeKind

HOST_LIMIT_CHARACTERS = 300
HOST_DELAY_LIMIT_MS = 3_600_000
HOST_MAX_IN_FLIGHT_LIMIT = 256
OVERRIDE_DEFAULT_SECONDS = 24 * 3600.0
OVERRIDE_LIMIT_SECONDS = 30 * 24 * 3600.0


class PaceRule(StrEnum):
    """Who set the pace that is in force."""

    DEFAULT = "default"
    ROBOTS = "robots"
    RETRY_AFTER = "retry_after"
    BREAKER = "breaker"
    OPERATOR = "operator"


class BreakerState(StrEnum):
    """`open`: the host could not be reached several times in a row and is left alone; `half_open`: one attempt may probe it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class HostState(StrEnum):
    """Whether fetches are dispatched to a host. What waits for a `banned` one fails, and so does what comes."""

    OPEN = "open"
    PAUSED = "paused"
    BANNED = "banned"


class PaceView(Message):
    """The pace in force: the strictest rule. `until` is when a rule that ends by itself does."""

    rule: PaceRule
    delay_ms: int = Field(description="From the end of one exchange on the host to the start of the next, at least.")
    max_in_flight: int = Field(description="Attempts on the host at once; 1 while there is a delay.")
    until: AwareDatetime | None = None


class BreakerView(Message):
    """How often in a row the host could not be reached, and until when it is left alone for that."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    until: AwareDatetime | None = None


class OverrideView(Message):
    """What an operator set, by whom and until when."""

    state: HostState = HostState.OPEN
    delay_ms: int | None = None
    max_in_flight: int | None = None
    reason: str | None = None
    actor: str | None = None
    expires_at: AwareDatetime


class RecentAttempt(Message):
    """One of the latest attempts on a host."""

    at: AwareDatetime
    outcome: OutcomeKind
    status: int | None = None
    error: ErrorType | None = None
    seconds: float


class HostView(Message):
    """One host. `backlog` and `in_flight` are counted up to `counted_up_to`; where they reach it there may be more."""

    host: str
    state: HostState = HostState.OPEN
    pace: PaceView
    backlog: int = Field(description="Fetches that wait, whatever for.")
    in_flight: int = Field(description="Fetches that are dispatched and not answered, also those that wait in a train.")
    counted_up_to: int
    next_slot_at: AwareDatetime | None = Field(default=None, description="When the next attempt may start; absent when now.")
    crawl_delay_seconds: float | None = Field(default=None, description="What the host's robots.txt asks for.")
    slowed_down_at: AwareDatetime | None = Field(default=None, description="When the host last asked us to slow down.")
    breaker: BreakerView = BreakerView()
    override: OverrideView | None = None
    recent: list[RecentAttempt] = Field(default_factory=list, description="The latest attempts, the last one first.")


class HostPage(Message):
    """Hosts in the order of their names. `next_cursor` is absent on the last page."""

    items: list[HostView]
    next_cursor: str | None = None


class HostChange(Message):
    """What an operator changes about a host; members that are absent stay as they are, `null` takes an override back.

    `open` resumes: it lifts a pause or a ban, and forgets what the host asked for and that it could not be reached.
    """

    state: HostState | None = Field(default=None, description="`paused` and `banned` last until `open` or the expiry.")
    delay_ms: int | None = Field(default=None, ge=0, le=HOST_DELAY_LIMIT_MS, description="Slow: the delay is at least this.")
    max_in_flight: int | None = Field(
        default=None, ge=1, le=HOST_MAX_IN_FLIGHT_LIMIT, description="Attempts at once while the host has no delay."
    )
    reason: str | None = Field(default=None, max_length=300, description="Why, for whoever looks next.")
    expires_in_seconds: float = Field(
        default=OVERRIDE_DEFAULT_SECONDS, ge=1, le=OVERRIDE_LIMIT_SECONDS, description="When the override ends by itself."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.model_fields_set.isdisjoint({"state", "delay_ms", "max_in_flight"}):
            raise ValueError("name at least one of state, delay_ms and max_in_flight")
        return self


class HostOperation(Message):
    """A change with its author, as the gateway hands it to the store."""

    actor: str = Field(max_length=200)
    change: HostChange
