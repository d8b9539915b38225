"""Notice that a client has hung up while its request waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request


@asynccontextmanager
async def hangup(request: Request) -> "AsyncIterator[asyncio.Future[None]]":
    """A future that is done once the client has hung up. Only for requests whose body has been read."""
    gone = asyncio.create_task(_listen(request), name="hangup")
    try:
        yield gone
    finally:
        gone.cancel()
        await asyncio.wait({gone})


async def _listen(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
