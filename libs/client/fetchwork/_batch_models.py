"""What the gateway answers about batches."""

from typing import Any

from pydantic import Field

from fetchwork._models import Answer


class BatchError(Answer):
    """A line that was refused: its number, from 1, and the problem document (RFC 9457)."""

    line: int
    problem: dict[str, Any] = Field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The problem in a sentence."""
        faults = self.problem.get("errors") or []
        details = [f"{fault.get('pointer', '#')}: {fault.get('detail', '')}" for fault in faults if isinstance(fault, dict)]
        return "; ".join(details) or str(self.problem.get("detail") or self.problem.get("title") or "refused")


class Batch(Answer):
    """What came of a submission. `is_replay`: the gateway had answered this idempotency key before, and repeated itself."""

    id: str
    accepted: int
    rejected: int = 0
    errors: list[BatchError] = Field(default_factory=list)
    is_replay: bool = False


class BatchCounts(Answer):
    """Fetches of a batch by status."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0


class BatchProgress(Answer):
    """How a batch is doing. `total` counts accepted lines; `errors` has the first of the refused ones."""

    id: str
    total: int
    counts: BatchCounts = BatchCounts()
    finished: bool = False
    rejected: int = 0
    errors: list[BatchError] = Field(default_factory=list)

    @property
    def done(self) -> int:
        """How many fetches have ended, one way or another."""
        return self.counts.succeeded + self.unsuccessful

    @property
    def unsuccessful(self) -> int:
        """How many fetches have ended without a response."""
        return self.counts.failed + self.counts.cancelled + self.counts.expired
