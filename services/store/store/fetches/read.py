"""Fetches as a reader sees them, built from their ledger rows, queue rows and attempts."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.fetches import IDEMPOTENT_METHODS, AcceptedFetch, FetchError, FetchRequest, FetchStatus
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
REQUEST = query("fetches_request")
ATTEMPTS = TypeAdapter(list[AttemptView])


async def read_fetch(
    pool: Pool,
    fetch_id: UUID,
    *,
    has_fetcher: bool,
    pace: PaceSettings | None = None,
    tenant: str | None = None,
    now: datetime | None = None,
) -> FetchView | None:
    """The fetch, or None when the ledger does not have it, or not of this tenant. Raises DatabaseUnavailable.

    Without `pace` the reader does not know hosts that make a fetch wait: it waits in the queue. Without `tenant` it may see all.
    """
    views = await read_fetches(pool, [fetch_id], has_fetcher=has_fetcher, pace=pace, tenant=tenant, now=now)
    return views[0] if views else None


async def read_fetches(
    pool: Pool,
    fetch_ids: Sequence[UUID],
    *,
    has_fetcher: bool,
    pace: PaceSettings | None,
    tenant: str | None,
    now: datetime | None = None,
) -> list[FetchView]:
    """Those of these fetches that `read_fetch` would find, the newest first. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, READ, list(fetch_ids), now, tenant)
    return [_view(row, has_fetcher=has_fetcher, pace=pace) for row in rows]


async def read_request(pool: Pool, fetch_id: UUID, *, tenant: str) -> AcceptedFetch | None:
    """A tenant's fetch as it was accepted, or None when the ledger has no such fetch. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, REQUEST, fetch_id, tenant)
    if not rows:
        return None
    row = rows[0]
    return AcceptedFetch(
        id=row["id"],
        host=row["host"],
        accepted_at=row["accepted_at"],
        request=FetchRequest.model_validate_json(row["request"]),
        tenant=row["tenant"],
        key_id=row["key_id"],
        batch_id=row["batch_id"],
        labels=tuple(row["labels"] or ()),
        attrs=json.loads(row["attrs"] or "{}"),
    )


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
        batch_id=row["batch_id"],
        labels=row["labels"] or [],
        attrs=json.loads(row["attrs"] or "{}"),
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
