"""The composition root of the gateway: builds its parts, its application and its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from common.chassis.build import VERSION
from common.chassis.lifecycle import close_all
from common.chassis.operations_port import serve_operations
from common.clock import utc_now
from common.streams.connection import connect_redis
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from gateway.authentication import Authentication
from gateway.body_limit import BodyLimit
from gateway.dependencies import Means
from gateway.firecrawl.refusals import FirecrawlRefusals
from gateway.metrics import GatewayMetrics
from gateway.observation import Observation
from gateway.problems import install_problems
from gateway.publish import Publisher
from gateway.routes import contents, dead_letters, fetch_lists, fetches, firecrawl, health, hosts, problems, retries
from gateway.settings import GatewaySettings
from gateway.store_client import StoreClient

GRACEFUL_SHUTDOWN_SECONDS = 10
KEEP_ALIVE_SECONDS = 30

# A span for each request, continuing the caller's trace; metrics and logs are our own.
TELEMETRY: TelemetryConfig = {"tracing": True, "metrics": False, "logs": False, "operation_spans": False}

log = structlog.get_logger()


def create_app(means: Means, settings: GatewaySettings) -> FastAPI:
    """The public application over its parts."""
    app = FastAPI(title="Fetchwork", version=VERSION, docs_url=None, redoc_url=None, telemetry=TELEMETRY)
    app.state.means = means
    for part in (fetches, fetch_lists, retries, contents, hosts, dead_letters, firecrawl, health, problems):
        app.include_router(part.router)
    install_problems(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    app.add_middleware(Authentication, api_key=settings.api_key.get_secret_value())
    app.add_middleware(Observation, metrics=means.metrics, requests_limit=settings.requests_limit)
    app.add_middleware(FirecrawlRefusals)  # added last: outermost
    return app


async def run_gateway(settings: GatewaySettings) -> None:
    """Serve until told to stop; requests under way are finished first."""
    async with (
        open_means(settings) as means,
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
        await uvicorn.Server(config).serve()


@asynccontextmanager
async def open_means(settings: GatewaySettings) -> AsyncIterator[Means]:
    """The parts of a gateway, running; they are stopped and closed at the end."""
    redis = connect_redis(settings.events_url.get_secret_value(), timeout_seconds=settings.accept_timeout_seconds)
    store = StoreClient(
        base_url=settings.store_url,
        token=settings.store_token.get_secret_value(),
        timeout_seconds=settings.store_timeout_seconds,
    )
    publisher = Publisher(
        redis,
        source=f"gateway/{settings.instance}",
        clock=utc_now,
        ingesting_limit=settings.ingesting_limit_fetches,
        timeout_seconds=settings.accept_timeout_seconds,
    )
    publishing = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield Means(publisher=publisher, store=store, metrics=_metrics(settings), clock=utc_now)
    finally:
        publishing.cancel()
        await close_all(store.close, redis.aclose)


def _metrics(settings: GatewaySettings) -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.limits.labels(link="ingesting_fetches").set(settings.ingesting_limit_fetches)
    metrics.limits.labels(link="requests").set(settings.requests_limit)
    metrics.limits.labels(link="connections").set(settings.connections_limit)
    return metrics
