"""What the gateway answers, as far as the SDK reads it. Members that we do not know are kept: the API may grow."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PENDING = frozenset({"queued", "running"})


class Answer(BaseModel):
    """Common to all answers."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Links(Answer):
    """Where to go from a fetch; paths on the gateway."""

    self_: str = Field(alias="self")
    content: str


class Waiting(Answer):
    """Why a pending fetch is not running."""

    reason: str
    until: datetime | None = None


class Response(Answer):
    """The kept response; `digest` is absent when it has no body."""

    status: int
    headers: dict[str, str] = Field(default_factory=dict)
    media_type: str | None = None
    size_bytes: int = 0
    digest: str | None = None
    final_url: str | None = None


class FetchFailure(Answer):
    """Why there is no response to keep."""

    type: str
    detail: str = ""


class Attempt(Answer):
    """One try by one worker."""

    number: int
    outcome: str
    status: int | None = None
    error: str | None = None
    seconds: float = 0.0


class ServedBy(Answer):
    """Whose exchange brought the response: live, cache, coalesced or not_modified, and how old it was."""

    kind: str
    fetch_id: str
    age_seconds: float = 0.0


class Fetch(Answer):
    """One fetch, pending or finished. `status` is queued, running, succeeded, failed, cancelled or expired."""

    id: str
    url: str = ""
    status: str
    waiting: Waiting | None = None
    response: Response | None = None
    error: FetchFailure | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    links: Links | None = None
    served_by: ServedBy | None = None
    batch_id: str | None = None
    labels: list[str] = Field(default_factory=list)
    attrs: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        """True when the status never changes again."""
        return self.status not in PENDING

    @property
    def is_succeeded(self) -> bool:
        """True when there is a response, whatever its HTTP status."""
        return self.status == "succeeded"


class Page(Answer):
    """A part of a list. `next_cursor` is absent on the last page."""

    items: list[dict[str, Any]] = Field(default_factory=list)
    next_cursor: str | None = None


class Egress(Answer):
    """Whether the gateway's policy lets a URL be dialled: the verdict is allow or refuse. `detail` says what to change."""

    verdict: str
    reason: str | None = None
    detail: str | None = None


class RobotsPlan(Answer):
    """What robots.txt says: allowed, disallowed, unavailable, unreachable or unknown, and the line that decides."""

    verdict: str
    line: str | None = None


class PacePlan(Answer):
    """Who set the host's pace, its delay, and what an operator made of the host: open, paused or banned."""

    rule: str
    delay_ms: int = 0
    state: str = "open"


class PlanItem(Answer):
    """What would happen if a URL were fetched now."""

    url: str
    normalized_url: str | None = None
    egress: Egress
    robots: RobotsPlan | None = None
    pace: PacePlan | None = None
    earliest_at: datetime | None = None

    @property
    def is_refused(self) -> bool:
        """True when a fetch would be refused: by the policy of addresses, by robots.txt, or because its host is banned."""
        is_disallowed = self.robots is not None and self.robots.verdict == "disallowed"
        is_banned = self.pace is not None and self.pace.state == "banned"
        return self.egress.verdict != "allow" or is_disallowed or is_banned
