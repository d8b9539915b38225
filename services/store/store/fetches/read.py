"""One fetch as a reader sees it, built from its ledger row, its queue row and its attempts."""

import json
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.fetches import IDEMPOTENT_METHODS, FetchError, FetchStatus
from common.contracts.views import AttemptView, FetchView, HopView, ResponseView, ServedBy, ServedByKind, Waiting, WaitingReason
from pydantic import TypeAdapter

from store.contents.digests import digest_text
from store.database import Pool, fetch_rows
from store.fetches.audit import ALLOWED_VERDICTS
from store.hosts.pace import PaceSettings
from store.hosts.rows import host_of_row
from store.hosts.waiting import waiting_at
from store.queries import query

READ = query("fetches_read")
ATTEMPTS = TypeAdapter(list[AttemptView])


async def read_fetch(
    pool: Pool, fetch_id: UUID, *, has_fetcher: bool, pace: PaceSettings | None = None, now: datetime | None = None
) -> FetchView | None:
    """The fetch, or None when the ledger does not have it. Raises DatabaseUnavailable.

    Without `pace` the reader does not know hosts that make a fetch wait: it waits in the queue.
    """
    rows = await fetch_rows(pool, READ, fetch_id, now)
    return _view(rows[0], has_fetcher=has_fetcher, pace=pace) if rows else None


def _view(row: asyncpg.Record, *, has_fetcher: bool, pace: PaceSettings | None) -> FetchView:
    status = FetchStatus(row["status"])
    return FetchView(
        id=row["id"],
        url=row["url"],
        method=row["method"],
        at_most_once=row["method"] not in IDEMPOTENT_METHODS,
        status=status,
        priority=row["priority"],
        created_at=row["accepted_at"],
        expires_at=row["expires_at"],
        finished_at=row["finished_at"],
        waiting=_waiting(row, has_fetcher=has_fetcher, pace=pace) if status is FetchStatus.QUEUED else None,
        response=_response(row),
        error=FetchError(type=row["error_type"], detail=row["error_detail"]) if row["error_type"] else None,
        attempts=[_presentable(attempt) for attempt in ATTEMPTS.validate_json(row["attempts"] or "[]")],
        served_by=_served_by(row, status),
    )


def _served_by(row: asyncpg.Record, status: FetchStatus) -> ServedBy | None:
    """What another fetch answered, also a failure that was shared, names it; a response of one's own is live."""
    if row["served_by_kind"] is not None:
        kind = ServedByKind(row["served_by_kind"])
        return ServedBy(kind=kind, fetch_id=row["served_by_id"], age_seconds=row["served_by_age_seconds"])
    return ServedBy(fetch_id=row["id"]) if status is FetchStatus.SUCCEEDED else None


def _presentable(attempt: AttemptView) -> AttemptView:
    """What `record` does before it stores an attempt, for attempts that an earlier release stored."""
    evidence = attempt.evidence
    if all(hop.verdict in ALLOWED_VERDICTS or not (hop.addresses or hop.peer) for hop in evidence.hops):
        return attempt
    hops: list[HopView] = [
        hop if hop.verdict in ALLOWED_VERDICTS else hop.model_copy(update={"addresses": [], "peer": None})
        for hop in evidence.hops
    ]
    return attempt.model_copy(update={"evidence": evidence.model_copy(update={"hops": hops})})


def _waiting(row: asyncpg.Record, *, has_fetcher: bool, pace: PaceSettings | None) -> Waiting:
    if row["is_later"]:
        return Waiting(reason=WaitingReason(row["waiting"]), until=row["run_at"])
    if not has_fetcher:
        return Waiting(reason=WaitingReason.NO_FETCHER)
    at_host = waiting_at(host_of_row(row), pace, now=row["now"]) if pace is not None and row["look_at"] is not None else None
    return at_host or Waiting(reason=WaitingReason.QUEUE)


def _response(row: asyncpg.Record) -> ResponseView | None:
    if row["response_status"] is None:
        return None
    return ResponseView(
        status=row["response_status"],
        headers=_headers(json.loads(row["response_headers"])),
        media_type=row["media_type"],
        detected_media_type=row["detected_media_type"],
        charset=row["charset"],
        charset_source=row["charset_source"],
        coding=row["coding"],
        redirects=json.loads(row["redirects"] or "[]"),
        size_bytes=row["size_bytes"] or 0,
        digest=digest_text(row["content_digest"]) if row["content_digest"] else None,
        final_url=row["final_url"],
    )


def _headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        separator = "\n" if key == "set-cookie" else ", "
        headers[key] = f"{headers[key]}{separator}{value}" if key in headers else value
    return headers
