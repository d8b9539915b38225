"""A tiny program that plays one of the three services for tests of the stack: it is ready, and as gateway it "fetches" at once.

`python stand_in_service.py NAME` takes the same environment as the real one. FETCHWORK_STAND_IN_FAULT=NAME:exit or
NAME:unready makes that one fail, NAME:stubborn makes it ignore the signal to stop.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from uuid import uuid4

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def accept(_: web.Request) -> web.Response:
    """Promise anything."""
    return web.json_response({"id": str(uuid4()), "status": "queued"}, status=202)


async def show(request: web.Request) -> web.Response:
    """Keep the promise at once."""
    return web.json_response({"id": request.match_info["id"], "status": "succeeded"})


def readyz(is_ready: bool) -> Handler:
    """A readiness endpoint that always says the same."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if is_ready else web.Response(status=503, text="[-]stand_in failed: told to\n")

    return answer


async def serve(ports: list[int], *, is_ready: bool) -> None:
    """Serve the same few routes on every port until a signal ends the process."""
    app = web.Application()
    app.add_routes([web.get("/readyz", readyz(is_ready)), web.post("/v1/fetches", accept), web.get("/v1/fetches/{id}", show)])
    runner = web.AppRunner(app)
    await runner.setup()
    for port in ports:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    print(f"serving on {ports}", flush=True)
    await asyncio.Event().wait()


def main() -> int:
    """Play the service named on the command line."""
    name = sys.argv[1]
    fault = os.environ.get("FETCHWORK_STAND_IN_FAULT")
    if fault == f"{name}:stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault == f"{name}:exit":
        print("Cannot start; fix these settings:", flush=True)
        return 2
    ports = [int(os.environ["FETCHWORK_METRICS_PORT"]), *([int(os.environ["FETCHWORK_PORT"])] if name == "gateway" else [])]
    asyncio.run(serve(ports, is_ready=fault != f"{name}:unready"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
