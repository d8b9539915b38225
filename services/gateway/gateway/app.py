"""The composition root of the gateway: builds its parts, its application and its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from common.chassis.build import VERSION
from common.chassis.lifecycle import close_all, run_loop
from common.chassis.operations_port import serve_operations
from common.clock import utc_now
from common.streams.connection import connect_redis
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from gateway.authentication import Authentication
from gateway.body_limit import BodyLimit
from gateway.dependencies import Means
from gateway.key_ring import KeyRing
from gateway.key_use import KeyUseReporter
from gateway.metrics import GatewayMetrics
from gateway.observation import Observation
from gateway.problems import install_problems
from gateway.publish import Publisher
from gateway.routes import audit, calling_key, contents, dead_letters, fetches, health, hosts, keys, problems
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
    for room in (fetches, contents, hosts, dead_letters, keys, calling_key, audit, health, problems):
        app.include_router(room.router)
    install_problems(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    app.add_middleware(
        Authentication,
        first_key=settings.api_key.get_secret_value(),
        ring=means.key_ring,
        uses=means.key_uses,
        clock=means.clock,
        metrics=means.metrics,
    )
    app.add_middleware(Observation, metrics=means.metrics, requests_limit=settings.requests_limit)  # added last: outermost
    return app


async def run_gateway(settings: GatewaySettings) -> None:
    """Serve until told to stop; requests under way are finished first."""
    async with (
        _open_means(settings) as means,
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
async def _open_means(settings: GatewaySettings) -> AsyncIterator[Means]:
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
    metrics = _metrics(settings)
    means = Means(
        publisher=publisher,
        store=store,
        metrics=metrics,
        clock=utc_now,
        key_ring=_key_ring(settings, store, metrics),
        key_uses=KeyUseReporter(store, clock=utc_now),
        key_environment=settings.key_environment,
    )
    loops = [
        asyncio.create_task(publisher.run(), name="publisher"),
        asyncio.create_task(means.key_ring.run(), name="key ring"),
        asyncio.create_task(run_loop(means.key_uses, asyncio.Event(), on_failure=metrics.note_key_failure), name="key use"),
    ]
    try:
        yield means
    finally:
        for loop in loops:
            loop.cancel()
        await close_all(means.key_uses.report, store.close, redis.aclose)


def _key_ring(settings: GatewaySettings, store: StoreClient, metrics: GatewayMetrics) -> KeyRing:
    return KeyRing(
        store,
        clock=utc_now,
        poll_seconds=settings.key_poll_seconds,
        stale_limit_seconds=settings.key_stale_limit_seconds,
        lookups_limit=settings.key_lookups_limit,
        metrics=metrics,
    )


def _metrics(settings: GatewaySettings) -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.limits.labels(link="ingesting_fetches").set(settings.ingesting_limit_fetches)
    metrics.limits.labels(link="requests").set(settings.requests_limit)
    metrics.limits.labels(link="key_lookups").set(settings.key_lookups_limit)
    metrics.limits.labels(link="connections").set(settings.connections_limit)
    return metrics
