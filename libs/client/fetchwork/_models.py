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
    """Whether our policy lets a URL be dialled: the verdict is allow or refuse."""

    verdict: str
    reason: str | None = None


class PlanItem(Answer):
    """What would happen if a URL were fetched now."""

    url: str
    normalized_url: str | None = None
    egress: Egress
    robots: Any = None
    pace: Any = None
    earliest_at: datetime | None = None

    @property
    def is_allowed(self) -> bool:
        """True when the URL would be dialled."""
        return self.egress.verdict == "allow"
