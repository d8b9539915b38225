"""Lease due fetches, and take leases back: every decision about due work is one statement of `sql/queue.sql`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.fetches import FetchRequest, PerformFetch, Validators

from store.database import Pool, fetch_rows
from store.fetches.freshness import validators_of
from store.queries import query

CLAIM = query("queue_claim")
RELEASE = query("queue_release")
END_LEASES = query("queue_end_leases")
NOW = query("queue_now")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long claimed work is ours, and when we stop giving it out."""

    margin_seconds: float
    abandon_after_dispatches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One leased fetch: the command for it, how long it waited, and whether an earlier dispatch went unanswered."""

    command: PerformFetch
    waited_seconds: float
    is_redelivery: bool


async def claim(pool: Pool, *, limit: int, leased_limit: int, lease: Lease, now: datetime | None) -> list[Claimed]:
    """Lease at most `limit` due fetches so that at most `leased_limit` are leased in all. Raises DatabaseUnavailable.

    Committed before it returns: a crash afterwards is recovered when the leases end.
    """
    rows = await fetch_rows(pool, CLAIM, limit, leased_limit, lease.abandon_after_dispatches, lease.margin_seconds, now)
    return [_claimed(row) for row in rows]


async def release(
    pool: Pool, *, tried: Sequence[PerformFetch], untried: Sequence[PerformFetch] = (), now: datetime | None
) -> None:
    """Take back dispatches that did not leave; they are due at once. Raises DatabaseUnavailable.

    Of those whose send was tried, what may be sent once only stays out: nobody knows whether it left.
    """
    commands = [*tried, *untried]
    was_tried = [True] * len(tried) + [False] * len(untried)
    await fetch_rows(
        pool, RELEASE, [command.id for command in commands], [command.dispatch_seq for command in commands], was_tried, now
    )


async def end_leases(pool: Pool, *, dispatched_before: datetime) -> None:
    """End the lease of everything dispatched up to then: its commands are gone. Raises DatabaseUnavailable."""
    await fetch_rows(pool, END_LEASES, dispatched_before)


async def postgres_now(pool: Pool) -> datetime:
    """Postgres's own time. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, NOW)
    now: datetime = rows[0]["now"]
    return now


def _claimed(row: asyncpg.Record) -> Claimed:
    request = FetchRequest.model_validate_json(row["request"])
    command = PerformFetch(
        id=_uuid(row["id"]),
        dispatch_seq=row["dispatch_seq"],
        lease_ends_at=row["lease_ends_at"],
        traceparent=row["traceparent"],
        validators=_validators(row, request) if row["stored_id"] is not None else None,
        request=request,
    )
    return Claimed(command=command, waited_seconds=row["waited_seconds"], is_redelivery=row["unanswered"] > 1)


def _validators(row: asyncpg.Record, request: FetchRequest) -> Validators | None:
    """Those of the stored response, unless the fetch would not take a body of its size."""
    if (row["stored_bytes"] or 0) > request.max_bytes:
        return None
    return validators_of(_uuid(row["stored_id"]), json.loads(row["stored_headers"]))


def _uuid(value: UUID) -> UUID:
    """A plain UUID: asyncpg's own subclass does not serialise everywhere."""
    return UUID(int=value.int)
