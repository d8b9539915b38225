"""The whole deployment at a glance, of all tenants: what the store tells a gateway for the status page."""

from uuid import UUID

from pydantic import AwareDatetime, Field

from common.contracts.envelope import Message
from common.contracts.fetches import ErrorType
from common.contracts.hosts import HostView


class TrafficSample(Message):
    """How many fetches were ever accepted and ever ended in each way until then, and the queue at that time."""

    at: AwareDatetime
    accepted: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    queued: int
    running: int
    oldest_seconds: float = Field(description="How long the fetch that is due longest has waited; 0 when none is due.")


class BusyHost(Message):
    """A host and how many fetches it has in the queue, those that are out included: a guess where the queue is long."""

    host: HostView
    fetches: int
    is_guess: bool


class Failure(Message):
    """A fetch that failed. `detail` is the sentence that its caller reads."""

    id: UUID
    host: str
    tenant: str
    at: AwareDatetime
    error: ErrorType
    detail: str | None


class Overview(Message):
    """Now, the last hour minute by minute, and who has most to wait for. `samples` are the oldest first and may have gaps."""

    now: TrafficSample
    samples: list[TrafficSample]
    workers: int
    worker_slots: int
    hosts: list[BusyHost]
    failures: list[Failure]
