"""Serve stored bytes, whole or in part, so that no browser ever renders a stranger's page on our origin."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import zstandard
from fastapi import Response
from fastapi.responses import StreamingResponse

from gateway.http.byte_ranges import ByteRange, RangeNotSatisfiable, read_range
from gateway.problems.answers import ProblemType, problem_response
from gateway.store_client import StoredContent

INLINE_LIMIT_BYTES = 1024 * 1024
CHUNK_BYTES = 256 * 1024
EMPTY_DIGEST = f"sha256:{hashlib.sha256(b'').hexdigest()}"
MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a request says about what it has and which part it wants, as the headers of these names say it."""

    if_none_match: str | None = None
    if_range: str | None = None
    range: str | None = None


def content_response(fetch_id: UUID, stored: StoredContent, conditions: Conditions) -> Response:
    """The decoded bytes as a download: all of them, or 206, 304 or 416 where the conditions make it so (RFC 9110 section 13.2.2).

    A range is decoded as a stream: what comes before it is passed over in pieces, and what comes behind it is not decoded.
    """
    etag = f'"{stored.digest or EMPTY_DIGEST}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if conditions.if_none_match is not None and _is_known(etag, conditions.if_none_match):
        return Response(status_code=304, headers=headers)
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": f'attachment; filename="{fetch_id}.bin"'}
    try:
        asked = read_range(conditions.range, size_bytes=stored.size_bytes) if conditions.if_range in (None, etag) else None
    except RangeNotSatisfiable:
        return _out_of_range(fetch_id, size_bytes=stored.size_bytes)
    if asked is None:
        return _bytes(stored.body, ByteRange(0, stored.size_bytes - 1), headers)
    headers["Content-Range"] = f"bytes {asked.first}-{asked.last}/{stored.size_bytes}"
    return _bytes(stored.body, asked, headers, status=206)


def _is_known(etag: str, if_none_match: str) -> bool:
    """Weak comparison against a list of entity tags, or `*` (sections 8.8.3.2 and 13.1.2)."""
    return if_none_match.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))


def _out_of_range(fetch_id: UUID, *, size_bytes: int) -> Response:
    return problem_response(
        ProblemType.RANGE_NOT_SATISFIABLE,
        f"The content has {size_bytes} bytes.",
        instance=f"/v1/fetches/{fetch_id}/content",
        headers={"Content-Range": f"bytes */{size_bytes}"},
    )


def _bytes(body: bytes, part: ByteRange, headers: dict[str, str], *, status: int = 200) -> Response:
    """What little there is to decode is decoded at once; more is decoded by a thread while it is sent."""
    headers["Content-Length"] = str(part.size_bytes)
    if part.last < INLINE_LIMIT_BYTES:
        return Response(b"".join(decoded(body, part)), status, headers, MEDIA_TYPE)
    return StreamingResponse(decoded(body, part), status, headers, MEDIA_TYPE)


def decoded(body: bytes, part: ByteRange) -> Iterator[bytes]:
    """A part of the bytes that a zstd body holds, in pieces of CHUNK_BYTES at most."""
    with zstandard.ZstdDecompressor().stream_reader(body) as reader:
        reader.seek(part.first)
        remaining = part.size_bytes
        while remaining and (chunk := reader.read(min(CHUNK_BYTES, remaining))):
            remaining -= len(chunk)
            yield chunk
