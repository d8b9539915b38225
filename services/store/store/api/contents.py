"""Internal uploads of bodies too large for a stream entry, from the fetcher."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Request, Response

from store.api.access import Access, get_access
from store.contents.upload import upload_content
from store.handlers import note_kept

router = APIRouter(prefix="/internal/v1/contents")


@router.put("/{digest}", status_code=204)
async def put_content(
    request: Request,
    digest: Annotated[str, Path(pattern="^sha256:[0-9a-f]{64}$")],
    x_content_size_bytes: Annotated[int, Header(ge=1)],
    access: Annotated[Access, Depends(get_access)],
) -> Response:
    """Keep a zstd body under the digest of its decoded bytes; idempotent. 413 above the limit, 422 when it does not match."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > access.upload_limit_bytes:
            raise HTTPException(413, "the body exceeds the upload limit")
    kept = await upload_content(access.pool, digest, bytes(body), size_bytes=x_content_size_bytes)
    note_kept(access.metrics, kept)
    return Response(status_code=204)
