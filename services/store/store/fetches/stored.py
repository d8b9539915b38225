"""Finished fetches read back from the ledger, so that they can answer others."""

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
from common.contracts.fetches import ErrorType, FetchError, FetchStatus, Redirect, ResponseHead

from store.contents.digests import digest_text
from store.database import Connection
from store.fetches.lifecycle import Stored
from store.queries import query

STORED = query("reuse_stored")


async def read_stored(connection: Connection, fetch_ids: Sequence[UUID]) -> Mapping[UUID, Stored]:
    """What these fetches ended with, for those that are here and finished."""
    if not fetch_ids:
        return {}
    return {row["id"]: stored_of(row) for row in await connection.fetch(STORED, list(fetch_ids))}


def stored_of(row: asyncpg.Record) -> Stored:
    """A row with the ledger's columns of a finished fetch, and its content's size."""
    error = FetchError(type=ErrorType(row["error_type"]), detail=row["error_detail"]) if row["error_type"] else None
    return Stored(
        source_id=row["served_by_id"] or row["id"],
        status=FetchStatus(row["status"]),
        response=_head(row) if row["response_status"] is not None else None,
        digest=digest_text(row["content_digest"]) if row["content_digest"] else None,
        size_bytes=row["size_bytes"] or 0,
        error=error,
        fetched_at=row["fetched_at"] or row["finished_at"],
    )


def _head(row: asyncpg.Record) -> ResponseHead:
    """Our own row: read, not validated again."""
    return ResponseHead.model_construct(
        status=row["response_status"],
        headers=tuple((name, value) for name, value in json.loads(row["response_headers"])),
        media_type=row["media_type"],
        detected_media_type=row["detected_media_type"],
        charset=row["charset"],
        charset_source=row["charset_source"],
        coding=row["coding"],
        redirects=tuple(Redirect(**redirect) for redirect in json.loads(row["redirects"] or "[]")),
        final_url=row["final_url"],
    )
