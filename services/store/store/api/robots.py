"""Internal: the robots.txt files that all fetchers share."""

from typing import Annotated

from common.contracts.robots import ROBOTS_LIMIT_BYTES, RobotsFile, RobotsOrigin
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import ValidationError

from store.api.access import Access, get_access
from store.robots.keep import keep_robots, read_robots

JSON_GROWTH = 6
"""A character takes six in JSON at most, as an escape."""
UPLOAD_LIMIT_BYTES = ROBOTS_LIMIT_BYTES * JSON_GROWTH + 4096

router = APIRouter(prefix="/internal/v1/robots")


@router.get("")
async def get_robots(origin: Annotated[RobotsOrigin, Query()], access: Annotated[Access, Depends(get_access)]) -> RobotsFile:
    """The newest file of an origin; `expires_at` may have passed. 404 when nobody has handed one in."""
    file = await read_robots(access.pool, origin)
    if file is None:
        raise HTTPException(404, "no robots.txt of this origin")
    return file


@router.put("", status_code=204)
async def put_robots(request: Request, access: Annotated[Access, Depends(get_access)]) -> Response:
    """Keep a file unless a newer one is here; idempotent. 413 above the limit, 422 when it cannot be read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > UPLOAD_LIMIT_BYTES:
            access.metrics.robots_refused.inc()
            raise HTTPException(413, "the file exceeds the limit")
    try:
        file = RobotsFile.model_validate_json(bytes(body))
    except ValidationError as error:
        if any(fault["type"] == "string_too_long" for fault in error.errors(include_input=False)):
            access.metrics.robots_refused.inc()
            raise HTTPException(413, "the file exceeds the limit") from error
        raise HTTPException(422, f"{error.error_count()} members of the file cannot be read") from error
    await keep_robots(access.pool, file)
    return Response(status_code=204)
