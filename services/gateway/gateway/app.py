"""The composition root of the gateway: builds its parts, its application and its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from common.chassis.build import VERSION
from common.chassis.lifecycle import close_all, run_loop
from common.chassis.operations_port import serve_operations
from common.clock import Clock, utc_now
from common.egress.lookup import NameLookup
from common.robots.rules import product_token
from common.streams.connection import connect_redis
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from gateway.authentication import Authentication
from gateway.body_limit import BodyLimit
from gateway.dependencies import Means
from gateway.event_stream import StreamPace
from gateway.feed import Feed
from gateway.firecrawl.refusals import FirecrawlRefusals
from gateway.idempotency import Idempotency
from gateway.idempotency_records import IdempotencyRecords
from gateway.key_ring import KeyRing
from gateway.key_use import KeyUseReporter
from gateway.metrics import Gate, GatewayMetrics
from gateway.observation import Observation
from gateway.openapi.about import TITLE
from gateway.plan_egress import EgressPlanner
from gateway.planner import Planner
from gateway.problems import install_problems
from gateway.publish import Publisher
from gateway.quotas import Quotas
from gateway.rate_limits import RateLimits
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
)
from gateway.server import Server
from gateway.settings import GatewaySettings
from gateway.store_client import StoreClient
from gateway.tickets import Tickets, carries_ticket
from gateway.waiting_room import WaitingRoom

ROOMS = (
    fetches, fetch_lists, retries, plans, contents, batches, events, keys, calling_key, audit, hosts, dead_letters, firecrawl,
    problems, health, documentation,
)  # fmt: skip
"""The modules with routes, in the order in which the document lists them."""
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
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes, streamed=frozenset({batches.PATH}))
    app.add_middleware(RateLimits, quotas=means.quotas, metrics=means.metrics)
    app.add_middleware(
        Authentication,
        first_key=settings.api_key.get_secret_value(),
        ring=means.key_ring,
        uses=means.key_uses,
        tickets=means.tickets,
        clock=means.clock,
        metrics=means.metrics,
    )
    app.add_middleware(Observation, metrics=means.metrics, requests_limit=settings.requests_limit)
    app.add_middleware(FirecrawlRefusals)  # added last: outermost
    return app


def create_planner(
    settings: GatewaySettings, *, names: NameLookup, store: StoreClient, metrics: GatewayMetrics, clock: Clock
) -> Planner:
    """Plans by these settings, over parts that the caller closes."""
    return Planner(
        egress=EgressPlanner(settings.target_policy, names=names),
        store=store,
        product_token=product_token(settings.user_agent),
        metrics=metrics,
        clock=clock,
        urls_limit=settings.plan_urls_limit,
    )


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
    # Connections of their own: a key that asks too often holds up nobody's promise, and neither does who reads the feed.
    counters = connect_redis(settings.events_url.get_secret_value(), timeout_seconds=settings.quota_timeout_seconds)
    feed_redis = connect_redis(settings.events_url.get_secret_value(), max_connections=FEED_CONNECTIONS)
    quotas = Quotas(counters, timeout_seconds=settings.quota_timeout_seconds)
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
        record_limits=settings.record_limits,
    )
    metrics = _metrics(settings)
    idempotency = IdempotencyRecords(
        redis,
        limits=settings.record_limits,
        clock=clock,
        metrics=metrics,
        timeout_seconds=settings.accept_timeout_seconds,
    )
    names = NameLookup(
        settings.target_policy, timeout_seconds=settings.plan_lookup_timeout_seconds, threads=settings.plan_lookups_limit
    )
    feed = Feed(feed_redis, metrics=metrics, ring_entries=settings.feed_ring_entries, ring_bytes=settings.feed_ring_bytes)
    key_ring = KeyRing(
        store,
        clock=clock,
        poll_seconds=settings.key_poll_seconds,
        stale_limit_seconds=settings.key_stale_limit_seconds,
        lookups_limit=settings.key_lookups_limit,
        metrics=metrics,
    )
    key_uses = KeyUseReporter(store, clock=clock)
    loops = [asyncio.create_task(loop.run(), name=type(loop).__name__) for loop in (publisher, feed, key_ring)]
    loops.append(
        asyncio.create_task(run_loop(key_uses, asyncio.Event(), on_failure=metrics.note_key_failure), name=key_uses.name)
    )
    try:
        yield Means(
            publisher=publisher,
            quotas=quotas,
            store=store,
            idempotency=idempotency,
            batches=settings.batches,
            planner=create_planner(settings, names=names, store=store, metrics=metrics, clock=clock),
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
            is_let_in=lambda principal: key_ring.is_good(principal, now=clock()),
            key_ring=key_ring,
            key_uses=key_uses,
            key_environment=settings.key_environment,
            metrics=metrics,
            clock=clock,
        )
    finally:
        for loop in loops:
            loop.cancel()
        names.close()
        await close_all(key_uses.report, store.close, redis.aclose, counters.aclose, feed_redis.aclose)


def _metrics(settings: GatewaySettings) -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.limits.labels(link="ingesting_fetches").set(settings.ingesting_limit_fetches)
    metrics.limits.labels(link="requests").set(settings.requests_limit)
    metrics.limits.labels(link="key_lookups").set(settings.key_lookups_limit)
    metrics.limits.labels(link="connections").set(settings.connections_limit)
    metrics.limits.labels(link="idempotency_records").set(settings.idempotency_records_limit)
    metrics.limits.labels(link="plan_urls").set(settings.plan_urls_limit)
    metrics.limits.labels(link="plan_lookups").set(settings.plan_lookups_limit)
    return metrics
