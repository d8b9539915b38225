"""Short ways to make the values that the store's tests speak of."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from common.contracts.catalog import FETCH_ACCEPTED, FETCH_ATTEMPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import (
    AcceptedFetch,
    BodyReference,
    ErrorType,
    FetchAttempted,
    FetchError,
    FetchesAccepted,
    FetchRequest,
    Outcome,
    OutcomeKind,
    ResponseHead,
)
from common.ids import new_fetch_id
from store.database import Connection, Pool, in_transaction
from store.dispatch.claim import Claimed, ClaimLimits, Lease, claim
from store.fetches.accept import Accepted, accept
from store.hosts.pace import PaceSettings

PACE = PaceSettings(delay_ms=0, max_in_flight=256)
"""Hosts that let through whatever a test asks for."""
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment, `seconds` after the tests' beginning of time."""
    return NOW + timedelta(seconds=seconds)


def accepted(fetches: int = 1, *, host: str = "a.test", **request: Any) -> Envelope[FetchesAccepted]:
    """A `fetch.accepted.v1` of so many fetches."""
    return wrap_accepted(
        [
            AcceptedFetch(
                id=new_fetch_id(), host=host, accepted_at=NOW, request=FetchRequest(url=f"http://{host}/{number}", **request)
            )
            for number in range(fetches)
        ]
    )


def wrap_accepted(fetches: list[AcceptedFetch]) -> Envelope[FetchesAccepted]:
    """An envelope around accepted fetches."""
    data = FetchesAccepted(fetches=tuple(fetches))
    return Envelope[FetchesAccepted].wrap(
        data, type=FETCH_ACCEPTED, source="gateway/test", subject="s", now=NOW, traceparent=None
    )


def wrap_attempted(attempted: FetchAttempted) -> Envelope[FetchAttempted]:
    """An envelope around one attempt."""
    return Envelope[FetchAttempted].wrap(
        attempted, type=FETCH_ATTEMPTED, source="fetcher/test", subject=str(attempted.id), now=NOW, traceparent=None
    )


def attempted(fetch_id: UUID, outcome: Outcome, *, dispatch_seq: int = 1) -> FetchAttempted:
    """One attempt of one second, ending in `outcome`."""
    return FetchAttempted(
        id=fetch_id, dispatch_seq=dispatch_seq, worker="w", started_at=at(0), finished_at=at(1), outcome=outcome
    )


def fetched(status: int = 200, *, body: BodyReference | None = None, is_retryable: bool = False) -> Outcome:
    """The outcome of an attempt that got a response."""
    headers = (("Content-Type", "text/plain"), ("Vary", "a"), ("vary", "b"), ("Set-Cookie", "x=1"), ("Set-Cookie", "y=2, 3"))
    response = ResponseHead(status=status, headers=headers, media_type="text/plain", final_url="http://a.test/0")
    return Outcome(kind=OutcomeKind.FETCHED, response=response, body=body, is_retryable=is_retryable)


def failed(*, error: ErrorType = ErrorType.CONNECT, is_retryable: bool = True, not_before: datetime | None = None) -> Outcome:
    """The outcome of an attempt that got none."""
    return Outcome(
        kind=OutcomeKind.FAILED, error=FetchError(type=error, detail="d"), is_retryable=is_retryable, not_before=not_before
    )


async def take_in(connection: Connection, *events: Envelope[FetchesAccepted], now: datetime | None) -> Accepted:
    """The first door, with a wait of 30 s for leaders."""
    return await accept(connection, events, source="store/t", coalesce_wait_seconds=30, priority_step_seconds=600, now=now)


MEET = "UPDATE hosts SET last_started_at = '2025-01-01', last_ended_at = '2025-01-01' WHERE last_ended_at IS NULL"


async def accept_events(
    pool: Pool, *events: Envelope[FetchesAccepted], now: datetime | None, are_known: bool = True
) -> Accepted:
    """The first door in a transaction of its own. Their hosts have been asked before, so that they need not be met first."""

    async def work(connection: Connection) -> Accepted:
        taken = await take_in(connection, *events, now=now)
        if are_known:
            await connection.execute(MEET)
        return taken

    return await in_transaction(pool, work)


async def claim_each(
    pool: Pool, *, limit: int, leased_limit: int, lease: Lease, pace: PaceSettings, now: datetime | None
) -> list[Claimed]:
    """A claim without trains: each fetch by itself, and as many slots as fetches may be out."""
    limits = ClaimLimits(claim_fetches=limit, slots=leased_limit, leased_fetches=leased_limit)
    trains = await claim(pool, limits=limits, lease=lease, pace=pace, trains=False, now=now)
    assert all(len(train) == 1 for train in trains)
    return [fetch for train in trains for fetch in train]
