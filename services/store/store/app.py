"""The store's internal HTTP API, put together."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig

from store.api import audit, batches, clocks, contents, dead_letters, fetches, hosts, keys, overview, plans, robots
from store.api.access import Access
from store.errors import DatabaseUnavailable, DataRefused, EventsUnavailable

# A span for each request, continuing the caller's trace; metrics and logs are our own.
TELEMETRY: TelemetryConfig = {"tracing": True, "metrics": False, "logs": False, "operation_spans": False}


def create_app(access: Access) -> FastAPI:
    """The application over what its routes may use. No documentation pages: this API is not for people."""
    app = FastAPI(title="Fetchwork store (internal)", docs_url=None, redoc_url=None, openapi_url=None, telemetry=TELEMETRY)
    app.state.access = access
    app.include_router(fetches.router)
    app.include_router(batches.router)
    app.include_router(clocks.router)
    app.include_router(contents.router)
    app.include_router(robots.router)
    app.include_router(hosts.router)
    app.include_router(dead_letters.router)
    app.include_router(plans.router)
    app.include_router(keys.router)
    app.include_router(audit.router)
    app.include_router(overview.router)
    app.add_exception_handler(DatabaseUnavailable, _unavailable)
    app.add_exception_handler(EventsUnavailable, _events_unavailable)
    app.add_exception_handler(DataRefused, _refused)
    return app


async def _unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the database does not answer"}, status_code=503, headers={"Retry-After": "1"})


async def _events_unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the events Redis does not answer"}, status_code=503, headers={"Retry-After": "1"})


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)
