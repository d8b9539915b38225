"""The composition root of the gateway: builds its parts, its application and its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from common.chassis.build import VERSION
from common.chassis.lifecycle import close_all
from common.chassis.operations_port import serve_operations
from common.clock import Clock, utc_now
from common.streams.connection import connect_redis
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from gateway.authentication import Authentication, is_let_in
from gateway.body_limit import BodyLimit
from gateway.dependencies import Means
from gateway.event_stream import StreamPace
from gateway.feed import Feed
from gateway.metrics import Gate, GatewayMetrics
from gateway.observation import Observation
from gateway.problems import install_problems
from gateway.publish import Publisher
from gateway.routes import contents, dead_letters, events, fetches, health, hosts, problems
from gateway.server import Server
from gateway.settings import GatewaySettings
from gateway.store_client import StoreClient
from gateway.tickets import Tickets, carries_ticket
from gateway.waiting_room import WaitingRoom

GRACEFUL_SHUTDOWN_SECONDS = 10
KEEP_ALIVE_SECONDS = 30
FEED_CONNECTIONS = 16
"""To Redis: one for the reader, the rest for clients that lag."""

# A span for each request, continuing the caller's trace; metrics and logs are our own.
# A span has the request's URL, so there is none where that holds a ticket.
TELEMETRY: TelemetryConfig = {
    "tracing": True, "metrics": False, "logs": False, "operation_spans": False, "exclude": carries_ticket
}

log = structlog.get_logger()


def create_app(means: Means, settings: GatewaySettings) -> FastAPI:
    """The public application over its parts."""
    app = FastAPI(title="Fetchwork", version=VERSION, docs_url=None, redoc_url=None, telemetry=TELEMETRY)
    app.state.means = means
    for routes in (fetches, contents, events, hosts, dead_letters, health, problems):
        app.include_router(routes.router)
    install_problems(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    app.add_middleware(Authentication, api_key=settings.api_key.get_secret_value(), tickets=means.tickets)
    app.add_middleware(Observation, metrics=means.metrics, requests_limit=settings.requests_limit)  # added last: outermost
    return app


async def run_gateway(settings: GatewaySettings) -> None:
    """Serve until told to stop; requests under way are finished first."""
    async with (
        open_means(settings, clock=utc_now) as means,
        serve_operations(
            bind=settings.metrics_bind, port=settings.metrics_port, registry=means.metrics.registry, checks=means.checks
        ),
    ):
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
        await Server(config, stall_seconds=settings.client_stall_seconds, at_shutdown=means.feed.close).serve()


@asynccontextmanager
async def open_means(settings: GatewaySettings, *, clock: Clock) -> AsyncIterator[Means]:
    """The gateway's parts while the context is open, with their loops running."""
    redis = connect_redis(settings.events_url.get_secret_value(), timeout_seconds=settings.accept_timeout_seconds)
    feed_redis = connect_redis(settings.events_url.get_secret_value(), max_connections=FEED_CONNECTIONS)
    store = StoreClient(
        base_url=settings.store_url,
        token=settings.store_token.get_secret_value(),
        timeout_seconds=settings.store_timeout_seconds,
    )
    publisher = Publisher(
        redis,
        source=f"gateway/{settings.instance}",
        clock=clock,
        ingesting_limit=settings.ingesting_limit_fetches,
        timeout_seconds=settings.accept_timeout_seconds,
    )
    metrics = _metrics(settings)
    feed = Feed(feed_redis, metrics=metrics, ring_entries=settings.feed_ring_entries, ring_bytes=settings.feed_ring_bytes)
    loops = [asyncio.create_task(loop.run(), name=type(loop).__name__) for loop in (publisher, feed)]
    try:
        yield Means(
            publisher=publisher,
            store=store,
            feed=feed,
            tickets=Tickets(
                feed_redis, ttl_seconds=settings.ticket_ttl_seconds, per_key_limit=settings.tickets_per_key_limit
            ),
            feed_clients=WaitingRoom(
                Gate.FEED_CLIENTS,
                metrics=metrics,
                limit=settings.feed_clients_limit,
                per_caller_limit=settings.feed_clients_per_key_limit,
            ),
            waits=WaitingRoom(
                Gate.WAITS, metrics=metrics, limit=settings.waits_limit, per_caller_limit=settings.waits_per_key_limit
            ),
            stream_pace=StreamPace(
                ping_seconds=settings.feed_ping_seconds, send_timeout_seconds=settings.feed_send_timeout_seconds
            ),
            wait_limit_seconds=settings.wait_limit_seconds,
            is_let_in=is_let_in,
            metrics=metrics,
            clock=clock,
        )
    finally:
        for loop in loops:
            loop.cancel()
        await close_all(store.close, redis.aclose, feed_redis.aclose)


def _metrics(settings: GatewaySettings) -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.limits.labels(link="ingesting_fetches").set(settings.ingesting_limit_fetches)
    metrics.limits.labels(link="requests").set(settings.requests_limit)
    metrics.limits.labels(link="connections").set(settings.connections_limit)
    return metrics
