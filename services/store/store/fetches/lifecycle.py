"""What becomes of a pending fetch after an attempt: the one place where retries are decided. Pure.

`judge` (in the fetcher) says whether another attempt may help and not before when; this says whether attempts remain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from common.contracts.fetches import ErrorType, FetchAttempted, FetchError, FetchStatus, OutcomeKind, ResponseHead
from common.contracts.views import ServedByKind

from store.fetches.freshness import is_reusable, updated_headers

BACKOFF_LIMIT_SECONDS = 3600.0
RETRY_AFTER_LIMIT_SECONDS = 24 * 3600.0

Jitter = Callable[[], float]
"""A number from 0 to 1, drawn anew at each call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A fetch that is not terminal, as the queue has it. `attempts` counts those that were answered.

    `revalidates_id` is the finished fetch whose validators the current dispatch carries, if any. After `expires_in_seconds` no
    attempt may start any more; None when it does not expire.
    """

    id: UUID
    is_running: bool
    dispatch_seq: int
    attempts: int
    retries_max: int
    backoff_seconds: float
    at_most_once: bool = False
    sharing_key: bytes | None = None
    revalidates_id: UUID | None = None
    expires_in_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a finished fetch ended with, to be told again under another id. `source_id` is the one whose exchange brought it."""

    source_id: UUID
    status: FetchStatus
    response: ResponseHead | None
    digest: str | None
    size_bytes: int
    error: FetchError | None
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a fetch owes to another: whose exchange brought the content, how old it was, how many bytes were not sent again."""

    kind: ServedByKind
    fetch_id: UUID
    age_seconds: float
    saved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The fetch reaches a terminal status with this response or this error.

    `fetched_at` is when the origin said it; with a `sharing_key` the response may answer other fetches from then on.
    """

    id: UUID
    status: FetchStatus
    response: ResponseHead | None = None
    digest: str | None = None
    error: FetchError | None = None
    fetched_at: datetime | None = None
    sharing_key: bytes | None = None
    served_by: Provenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Another attempt is due after `delay_seconds`."""

    id: UUID
    delay_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The stored response that the origin confirmed is gone: ask anew at once. No fault of the origin, so nothing is counted."""

    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooze:
    """The worker gave the fetch back before its turn: due again, and nothing is counted."""

    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An outcome that changes nothing: a newer dispatch, or none, is answerable for the fetch."""

    id: UUID


Transition = Finish | Retry | Again | Snooze | Stale


def next_state(
    pending: Pending, attempted: FetchAttempted, *, jitter: Jitter, stored: Stored | None = None
) -> Transition:
    """Decide what an outcome does to a pending fetch. A late outcome is stale unless it is a final response.

    `stored` is what the fetch `pending.revalidates_id` ended with, None when that is gone.
    """
    outcome = attempted.outcome
    is_current = pending.is_running and pending.dispatch_seq == attempted.dispatch_seq
    is_final_response = outcome.kind is OutcomeKind.FETCHED and not outcome.is_retryable
    if not is_current and not is_final_response:
        return Stale(id=pending.id)
    if outcome.kind is OutcomeKind.SNOOZED:
        return Snooze(id=pending.id)
    if outcome.kind is OutcomeKind.NOT_MODIFIED and pending.revalidates_id is not None:
        return _confirm(pending, attempted, stored) if stored is not None else Again(id=pending.id)
    if outcome.is_retryable and not pending.at_most_once and pending.attempts < pending.retries_max:
        delay_seconds = _delay_seconds(pending, attempted, jitter=jitter)
        if pending.expires_in_seconds is not None and delay_seconds >= pending.expires_in_seconds:
            return expire(pending.id, reason="The fetch expires before its next attempt is due.")
        return Retry(id=pending.id, delay_seconds=delay_seconds)
    return finish(attempted, sharing_key=pending.sharing_key)


def finish(attempted: FetchAttempted, *, sharing_key: bytes | None = None) -> Finish:
    """The terminal state that an attempt leads to when no other follows: any response is kept, whatever its status."""
    outcome = attempted.outcome
    if outcome.kind is OutcomeKind.FETCHED and outcome.response is not None:
        return Finish(
            id=attempted.id,
            status=FetchStatus.SUCCEEDED,
            response=outcome.response,
            digest=outcome.body.digest if outcome.body is not None else None,
            fetched_at=attempted.finished_at,
            sharing_key=sharing_key if is_reusable(outcome.response) else None,
        )
    error = outcome.error or FetchError(type=ErrorType.INTERNAL, detail="The attempt ended without a reason.")
    return Finish(id=attempted.id, status=FetchStatus.FAILED, error=error, fetched_at=attempted.finished_at)


def tell_again(fetch_id: UUID, stored: Stored, *, kind: ServedByKind, age_seconds: float) -> Finish:
    """The terminal state of a fetch that ends as another one did."""
    served_by = Provenance(
        kind=kind, fetch_id=stored.source_id, age_seconds=max(age_seconds, 0.0), saved_bytes=stored.size_bytes
    )
    return Finish(
        id=fetch_id,
        status=stored.status,
        response=stored.response,
        digest=stored.digest,
        error=stored.error,
        fetched_at=stored.fetched_at,
        served_by=served_by,
    )


def abandon(fetch_id: UUID, *, dispatches: int, at_most_once: bool = False) -> Finish:
    """The terminal state of a fetch that was dispatched as often as it may be, without an answer."""
    detail = f"No worker reported an outcome after {dispatches} dispatches; the fetch may crash its workers."
    if at_most_once:
        detail = (
            "The outcome of the one attempt was lost. The method is not idempotent, so the request was not sent a second time; "
            "the origin may have received it."
        )
    return Finish(id=fetch_id, status=FetchStatus.FAILED, error=FetchError(type=ErrorType.ABANDONED, detail=detail))


def cancel(fetch_id: UUID) -> Finish:
    """The terminal state of a fetch that its caller does not want any more."""
    return Finish(id=fetch_id, status=FetchStatus.CANCELLED)


def expire(fetch_id: UUID, *, reason: str) -> Finish:
    """The terminal state of a fetch that may not be attempted any more, because it is too late."""
    return Finish(id=fetch_id, status=FetchStatus.EXPIRED, error=FetchError(type=ErrorType.EXPIRED, detail=reason))


def give_up(fetch_id: UUID, *, error: ErrorType, reason: str) -> Finish:
    """The terminal state of a fetch that was not attempted, or not again, because of its host."""
    return Finish(id=fetch_id, status=FetchStatus.FAILED, error=FetchError(type=error, detail=reason))


def _confirm(pending: Pending, attempted: FetchAttempted, stored: Stored) -> Finish:
    """The origin said 304: the stored response, with the headers that the 304 brought, is what the fetch ends with."""
    told = tell_again(pending.id, stored, kind=ServedByKind.NOT_MODIFIED, age_seconds=0.0)
    confirming = attempted.outcome.response
    if told.response is None or confirming is None:
        return Finish(id=told.id, status=told.status, response=told.response, digest=told.digest, error=told.error)
    response = told.response.model_copy(update={"headers": updated_headers(told.response.headers, confirming.headers)})
    return Finish(
        id=told.id,
        status=told.status,
        response=response,
        digest=told.digest,
        fetched_at=attempted.finished_at,
        sharing_key=pending.sharing_key if is_reusable(response) else None,
        served_by=told.served_by,
    )


def _delay_seconds(pending: Pending, attempted: FetchAttempted, *, jitter: Jitter) -> float:
    """Exponential back-off with full jitter, but never earlier than the origin asked."""
    ceiling = min(BACKOFF_LIMIT_SECONDS, pending.backoff_seconds * 2.0**pending.attempts)
    asked = attempted.outcome.not_before
    wanted = (asked - attempted.finished_at).total_seconds() if asked is not None else 0.0
    return max(jitter() * ceiling, min(max(wanted, 0.0), RETRY_AFTER_LIMIT_SECONDS))
