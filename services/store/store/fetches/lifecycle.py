"""What becomes of a pending fetch after an attempt: the one place where retries are decided. Pure.

`judge` (in the fetcher) says whether another attempt may help and not before when; this says whether attempts remain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from common.contracts.fetches import ErrorType, FetchAttempted, FetchError, FetchStatus, OutcomeKind, ResponseHead

BACKOFF_LIMIT_SECONDS = 3600.0
RETRY_AFTER_LIMIT_SECONDS = 24 * 3600.0

Jitter = Callable[[], float]
"""A number from 0 to 1, drawn anew at each call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A fetch that is not terminal, as the queue has it. `attempts` counts those that were answered."""

    id: UUID
    is_running: bool
    dispatch_seq: int
    attempts: int
    retries_max: int
    backoff_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The fetch reaches a terminal status with this response or this error."""

    id: UUID
    status: FetchStatus
    response: ResponseHead | None = None
    digest: str | None = None
    error: FetchError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Another attempt is due after `delay_seconds`."""

    id: UUID
    delay_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An outcome that changes nothing: a newer dispatch, or none, is answerable for the fetch."""

    id: UUID


Transition = Finish | Retry | Stale


def next_state(pending: Pending, attempted: FetchAttempted, *, jitter: Jitter) -> Transition:
    """Decide what an outcome does to a pending fetch. A late outcome is stale unless it is a final response."""
    outcome = attempted.outcome
    is_current = pending.is_running and pending.dispatch_seq == attempted.dispatch_seq
    is_final_response = outcome.kind is OutcomeKind.FETCHED and not outcome.is_retryable
    if not is_current and not is_final_response:
        return Stale(id=pending.id)
    if outcome.is_retryable and pending.attempts < pending.retries_max:
        return Retry(id=pending.id, delay_seconds=_delay_seconds(pending, attempted, jitter=jitter))
    return finish(attempted)


def finish(attempted: FetchAttempted) -> Finish:
    """The terminal state that an attempt leads to when no other follows: any response is kept, whatever its status."""
    outcome = attempted.outcome
    if outcome.kind is OutcomeKind.FETCHED and outcome.response is not None:
        digest = outcome.body.digest if outcome.body is not None else None
        return Finish(id=attempted.id, status=FetchStatus.SUCCEEDED, response=outcome.response, digest=digest)
    error = outcome.error or FetchError(type=ErrorType.INTERNAL, detail="The attempt ended without a reason.")
    return Finish(id=attempted.id, status=FetchStatus.FAILED, error=error)


def abandon(fetch_id: UUID, *, dispatches: int) -> Finish:
    """The terminal state of a fetch that was dispatched again and again without an answer."""
    detail = f"No worker reported an outcome after {dispatches} dispatches; the fetch may crash its workers."
    return Finish(id=fetch_id, status=FetchStatus.FAILED, error=FetchError(type=ErrorType.ABANDONED, detail=detail))


def _delay_seconds(pending: Pending, attempted: FetchAttempted, *, jitter: Jitter) -> float:
    """Exponential back-off with full jitter, but never earlier than the origin asked."""
    ceiling = min(BACKOFF_LIMIT_SECONDS, pending.backoff_seconds * 2.0**pending.attempts)
    asked = attempted.outcome.not_before
    wanted = (asked - attempted.finished_at).total_seconds() if asked is not None else 0.0
    return max(jitter() * ceiling, min(max(wanted, 0.0), RETRY_AFTER_LIMIT_SECONDS))
