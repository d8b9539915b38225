"""Bring fetches to their terminal status: ledger, queue, counts, followers and outbox, in the caller's transaction."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.catalog import FETCH_FINISHED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchFinished

from store.columns import columns
from store.contents.digests import digest_bytes
from store.database import Connection
from store.fetches.followers import note_leftovers, share_outcomes
from store.fetches.lifecycle import Finish
from store.fetches.storable import storable, storable_json
from store.outbox.write import write_events
from store.queries import query

FINISH = query("fetches_finish")
FINISHED = Envelope[FetchFinished]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What was finished: fetches by status, those without a response by error type, and by kind those that another fetch answered
    and the bytes that this saved.

    `released` are the hosts where a fetch that waited for one of these is due now: the caller has the claim look at them.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    saved_bytes: Counter[str] = field(default_factory=Counter)
    released: frozenset[str] = frozenset()

    def __add__(self, other: "Finished") -> "Finished":
        """Both together."""
        return Finished(
            statuses=self.statuses + other.statuses,
            errors=self.errors + other.errors,
            reused=self.reused + other.reused,
            saved_bytes=self.saved_bytes + other.saved_bytes,
            released=self.released | other.released,
        )


async def finish_fetches(connection: Connection, finishes: Sequence[Finish], *, source: str, now: datetime | None) -> Finished:
    """Finish those that are not terminal yet, and those that waited for them, and queue their feed events."""
    finished, leader_ids = await _finish(connection, finishes, source=source, now=now)
    if not leader_ids:
        return finished
    followers = await finish_followers(connection, leader_ids, source=source, now=now)
    await note_leftovers(connection, leader_ids)
    return finished + followers


async def finish_followers(
    connection: Connection, leader_ids: Sequence[UUID], *, source: str, now: datetime | None
) -> Finished:
    """Finish one bounded set of those that wait for these finished leaders."""
    shared = await share_outcomes(connection, leader_ids, now=now)
    finished, _ = await _finish(connection, shared.finishes, source=source, now=now)
    return replace(finished, released=shared.released)


async def _finish(
    connection: Connection, finishes: Sequence[Finish], *, source: str, now: datetime | None
) -> tuple[Finished, list[UUID]]:
    """What was finished, and which of them others may wait for."""
    if not finishes:
        return Finished(), []
    rows = await connection.fetch(FINISH, *columns([_row(finish) for finish in finishes]), now)
    await write_events(connection, [(finished_event(row, source=source), row["tenant"]) for row in rows], now=now)
    provenances = {finish.id: finish.served_by for finish in finishes if finish.served_by is not None}
    served = [provenances[row["id"]] for row in rows if row["id"] in provenances] if provenances else []
    finished = Finished(statuses=Counter(row["status"] for row in rows), errors=error_counts(rows))
    for provenance in served:
        finished.reused[provenance.kind.value] += 1
        finished.saved_bytes[provenance.kind.value] += provenance.saved_bytes
    return finished, [row["id"] for row in rows if row["may_lead"]]


def error_counts(rows: Iterable[asyncpg.Record]) -> Counter[str]:
    """How many of these rows of `fetches` have each error type."""
    return Counter(row["error_type"] for row in rows if row["error_type"] is not None)


def _row(finish: Finish) -> tuple[object, ...]:
    response, error, served_by = finish.response, finish.error, finish.served_by
    return (
        finish.id,
        finish.status.value,
        response.status if response else None,
        storable_json(json.dumps(response.headers)) if response else None,
        storable(response.media_type) if response else None,
        storable(response.final_url) if response else None,
        digest_bytes(finish.digest) if finish.digest else None,
        error.type.value if error else None,
        storable(error.detail) if error else None,
        storable(response.detected_media_type) if response else None,
        storable(response.charset) if response else None,
        response.charset_source if response else None,
        storable(response.coding) if response else None,
        _redirects(finish),
        finish.fetched_at,
        finish.sharing_key,
        served_by.kind.value if served_by else None,
        served_by.fetch_id if served_by else None,
        served_by.age_seconds if served_by else None,
    )


def _redirects(finish: Finish) -> str | None:
    if finish.response is None or not finish.response.redirects:
        return None
    return storable_json(json.dumps([redirect.model_dump() for redirect in finish.response.redirects]))


def finished_event(row: asyncpg.Record, *, source: str) -> Envelope[FetchFinished]:
    """What the feed is told of a fetch that just became terminal."""
    data = FetchFinished(
        id=row["id"],
        url=row["url"],
        status=row["status"],
        finished_at=row["finished_at"],
        response_status=row["response_status"],
        error_type=row["error_type"],
        batch_id=row["batch_id"],
        labels=tuple(row["labels"] or ()),
    )
    return FINISHED.wrap(
        data, type=FETCH_FINISHED, source=source, subject=str(data.id), now=data.finished_at, traceparent=row["traceparent"]
    )
