"""The composition root of the gateway: its application and its server, over the parts that `parts.py` builds."""

import asyncio

import structlog
import uvicorn
from common.chassis.build import VERSION
from common.chassis.lifecycle import rest_unless, stop_on_signals
from common.chassis.operations_port import serve_operations
from common.chassis.phase import CloseWhileDraining
from common.chassis.watcher import Watcher
from common.clock import utc_now
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from gateway.access.authentication import Authentication
from gateway.access.rate_limits import RateLimits
from gateway.access.tickets import carries_ticket
from gateway.dependencies import Means
from gateway.firecrawl.refusals import FirecrawlRefusals
from gateway.http.body_limit import BodyLimit
from gateway.http.observation import Observation
from gateway.http.server import Server
from gateway.idempotency.middleware import Idempotency
from gateway.openapi.about import TITLE
from gateway.parts import open_means
from gateway.problems.answers import install_problems
from gateway.routes import (
    audit,
    batches,
    calling_key,
    contents,
    dead_letters,
    documentation,
    events,
    fetch_lists,
    fetches,
    firecrawl,
    health,
    hosts,
    keys,
    plans,
    problems,
    retries,
    status,
)
from gateway.settings import GatewaySettings

ROOMS = (
    fetches, fetch_lists, retries, plans, contents, batches, events, keys, calling_key, audit, hosts, dead_letters, firecrawl,
    problems, health, documentation, status,
)  # fmt: skip
"""The modules with routes, in the order in which the document lists them."""
GRACEFUL_SHUTDOWN_SECONDS = 10
KEEP_ALIVE_SECONDS = 30

# A span for each request, continuing the caller's trace; metrics and logs are our own.
# A span has the request's URL, so there is none where that holds a ticket.
TELEMETRY: TelemetryConfig = {
    "tracing": True, "metrics": False, "logs": False, "operation_spans": False, "exclude": carries_ticket
}

log = structlog.get_logger()


def create_api() -> FastAPI:
    """The routes and their OpenAPI document, before they have anything to stand on."""
    app = FastAPI(title=TITLE, version=VERSION, openapi_url=None, telemetry=TELEMETRY)
    for room in ROOMS:
        app.include_router(room.router)
    install_problems(app)
    return app


def create_app(means: Means, settings: GatewaySettings) -> FastAPI:
    """The public application over its parts."""
    app = create_api()
    app.state.means = means
    app.add_middleware(Idempotency, records=means.idempotency)
    app.add_middleware(
        BodyLimit,
        limit_bytes=settings.body_limit_bytes,
        timeout_seconds=settings.body_timeout_seconds,
        streamed=frozenset({batches.PATH}),
    )
    app.add_middleware(RateLimits, quotas=means.quotas, metrics=means.metrics)
    app.add_middleware(
        Authentication,
        credentials=means.credentials,
        tickets=means.tickets,
        metrics=means.metrics,
    )
    app.add_middleware(Observation, metrics=means.metrics, requests_limit=settings.requests_limit)
    app.add_middleware(FirecrawlRefusals)
    app.add_middleware(CloseWhileDraining, phase=means.phase)  # added last: outermost
    return app


async def run_gateway(settings: GatewaySettings) -> None:
    """Serve until told to stop and for `drain_seconds` more, then finish what is under way. A second signal ends that time."""
    async with (
        open_means(settings, clock=utc_now) as means,
        serve_operations(
            bind=settings.metrics_bind,
            port=settings.metrics_port,
            registry=means.metrics.registry,
            checks=means.checks,
            phase=means.phase,
            watcher=Watcher(means.dependencies, metrics=means.metrics.chassis),
        ),
    ):
        means.metrics.chassis.draining.set_function(lambda: means.phase.is_draining)
        config = uvicorn.Config(
            create_app(means, settings),
            host=settings.gateway_bind,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            limit_concurrency=settings.connections_limit,
        )
        log.info("gateway starting", port=settings.port)
        server = Server(
            config,
            stall_seconds=settings.client_stall_seconds,
            at_start=means.phase.begin_serving,
            at_shutdown=means.feed.close,
        )
        await _serve(server, means, drain_seconds=settings.drain_seconds)


async def _serve(server: Server, means: Means, *, drain_seconds: float) -> None:
    hurried = asyncio.Event()

    def stop() -> None:
        if means.phase.is_draining:
            hurried.set()
        means.phase.begin_drain()

    stop_on_signals(stop)
    serving, stopping = asyncio.create_task(server.serve()), asyncio.create_task(means.phase.draining.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        log.info("gateway draining", seconds=drain_seconds)
        await rest_unless(hurried, drain_seconds)
    stopping.cancel()
    server.should_exit = True
    await serving
    log.info("gateway stopped")
