"""Serve stored bytes so that no browser ever renders a stranger's page on our origin."""

from collections.abc import Iterator
from uuid import UUID

import zstandard
from fastapi import Response
from fastapi.responses import StreamingResponse

from gateway.store_client import StoredContent

INLINE_LIMIT_BYTES = 1024 * 1024
CHUNK_BYTES = 256 * 1024


def content_response(fetch_id: UUID, stored: StoredContent, *, if_none_match: str | None) -> Response:
    """The decoded bytes as a download, or 304 when the caller has them (RFC 9110 section 13.1.2)."""
    headers = {
        "Content-Disposition": f'attachment; filename="{fetch_id}.bin"',
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if stored.digest is None:
        return Response(b"", media_type="application/octet-stream", headers=headers)
    headers["ETag"] = etag = f'"{stored.digest}"'
    if if_none_match is not None and _matches(etag, if_none_match):
        return Response(status_code=304, headers=headers)
    if stored.size_bytes <= INLINE_LIMIT_BYTES:
        body = zstandard.ZstdDecompressor().decompress(stored.body, max_output_size=stored.size_bytes)
        return Response(body, media_type="application/octet-stream", headers=headers)
    headers["Content-Length"] = str(stored.size_bytes)
    return StreamingResponse(_decoded(stored.body), media_type="application/octet-stream", headers=headers)


def _decoded(body: bytes) -> Iterator[bytes]:
    yield from zstandard.ZstdDecompressor().read_to_iter(body, write_size=CHUNK_BYTES)


def _matches(etag: str, if_none_match: str) -> bool:
    """Weak comparison against a list of entity tags, or `*`."""
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in given or etag in given
