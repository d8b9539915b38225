"""What a reader of one fetch is shown: the store's internal answer, which the gateway passes on with links."""

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, Field

from common.contracts.envelope import Message
from common.contracts.fetches import Digest, ErrorType, FetchError, FetchStatus, OutcomeKind


class WaitingReason(StrEnum):
    """What a pending fetch waits for."""

    QUEUE = "queue"
    DELAY = "delay"
    RETRY = "retry"
    NO_FETCHER = "no_fetcher"


class Waiting(Message):
    """Why a pending fetch is not running, and the earliest time that may change (absent when unknown)."""

    reason: WaitingReason
    until: AwareDatetime | None = None


class ResponseView(Message):
    """The kept response. `size_bytes` counts decoded bytes; `digest` is of those bytes and absent when there is no body.

    Header names are in lower case. The values of a repeated header are joined by a comma (RFC 9110 section 5.3), those of
    `set-cookie`, which may hold commas, by a line feed.
    """

    status: int
    headers: dict[str, str] = Field(default_factory=dict)
    media_type: str | None = None
    size_bytes: int = 0
    digest: Digest | None = None
    final_url: str


class AttemptView(Message):
    """One recorded attempt. Numbers follow dispatches, so a gap is a dispatch whose worker never reported."""

    number: int
    outcome: OutcomeKind
    started_at: AwareDatetime
    finished_at: AwareDatetime
    status: int | None = None
    error: ErrorType | None = None
    seconds: float
    hops: list[str] = Field(default_factory=list, description="The URLs dialled, in order.")


class ServedBy(Message):
    """Where the response came from."""

    kind: str = "live"
    fetch_id: UUID


class FetchView(Message):
    """One fetch as a reader sees it."""

    id: UUID
    url: str
    method: str = "GET"
    status: FetchStatus
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    waiting: Waiting | None = None
    response: ResponseView | None = None
    error: FetchError | None = None
    attempts: list[AttemptView] = Field(default_factory=list)
    served_by: ServedBy | None = None
