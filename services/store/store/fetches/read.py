"""One fetch as a reader sees it, built from its ledger row, its queue row and its attempts."""

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.fetches import FetchError, FetchStatus
from common.contracts.views import AttemptView, FetchView, ResponseView, ServedBy, Waiting, WaitingReason

from store.contents.digests import digest_text
from store.database import Pool, fetch_rows
from store.queries import query

READ = query("fetches_read")
ATTEMPTS = query("attempts_of_fetch")


async def read_fetch(pool: Pool, fetch_id: UUID, *, has_fetcher: bool, now: datetime | None = None) -> FetchView | None:
    """The fetch, or None when the ledger does not have it. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, READ, fetch_id, now)
    if not rows:
        return None
    attempts = await fetch_rows(pool, ATTEMPTS, fetch_id)
    return _view(rows[0], attempts, has_fetcher=has_fetcher)


def _view(row: asyncpg.Record, attempts: Sequence[asyncpg.Record], *, has_fetcher: bool) -> FetchView:
    status = FetchStatus(row["status"])
    return FetchView(
        id=row["id"],
        url=row["url"],
        method=row["method"],
        status=status,
        created_at=row["accepted_at"],
        finished_at=row["finished_at"],
        waiting=_waiting(row, has_fetcher=has_fetcher) if status is FetchStatus.QUEUED else None,
        response=_response(row),
        error=FetchError(type=row["error_type"], detail=row["error_detail"]) if row["error_type"] else None,
        attempts=[_attempt(attempt) for attempt in attempts],
        served_by=ServedBy(fetch_id=row["id"]) if status is FetchStatus.SUCCEEDED else None,
    )


def _waiting(row: asyncpg.Record, *, has_fetcher: bool) -> Waiting:
    if row["is_later"]:
        return Waiting(reason=WaitingReason(row["waiting"]), until=row["run_at"])
    return Waiting(reason=WaitingReason.QUEUE if has_fetcher else WaitingReason.NO_FETCHER)


def _response(row: asyncpg.Record) -> ResponseView | None:
    if row["response_status"] is None:
        return None
    return ResponseView(
        status=row["response_status"],
        headers=json.loads(row["response_headers"]),
        media_type=row["media_type"],
        size_bytes=row["size_bytes"] or 0,
        digest=digest_text(row["content_digest"]) if row["content_digest"] else None,
        final_url=row["final_url"],
    )


def _attempt(row: asyncpg.Record) -> AttemptView:
    hops = json.loads(row["evidence"]).get("hops", [])
    return AttemptView(
        number=row["number"],
        outcome=row["outcome"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        status=row["response_status"],
        error=row["error_type"],
        seconds=round((row["finished_at"] - row["started_at"]).total_seconds(), 6),
        hops=[hop["url"] for hop in hops],
    )
