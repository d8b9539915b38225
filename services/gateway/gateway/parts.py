"""The gateway's parts, built once from its settings for the application to stand on, with their loops running."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from common.chassis.lifecycle import close_all, end_task, run_loop
from common.chassis.phase import Phase
from common.clock import Clock
from common.egress.lookup import NameLookup
from common.robots.rules import product_token
from common.streams.connection import connect_redis
from redis.asyncio import Redis

from gateway.access.credentials import Credentials
from gateway.access.key_ring import KeyRing
from gateway.access.key_use import KeyUseReporter
from gateway.access.quotas import Quotas
from gateway.access.sessions import Sessions
from gateway.access.tickets import Tickets
from gateway.dependencies import Means
from gateway.feed.reader import Feed
from gateway.feed.stream import StreamPace
from gateway.http.waiting_room import WaitingRoom
from gateway.idempotency.records import IdempotencyRecords
from gateway.metrics import POOLS, Gate, GatewayMetrics
from gateway.plans.egress import EgressPlanner
from gateway.plans.planner import Planner
from gateway.promises.publish import Publisher
from gateway.settings import GatewaySettings
from gateway.status.overview import OverviewReader
from gateway.store_client import StoreClient

FEED_CONNECTIONS = 16
"""To Redis: one for the reader, the rest for clients that lag."""


@asynccontextmanager
async def open_means(settings: GatewaySettings, *, clock: Clock) -> AsyncIterator[Means]:
    """The gateway's parts while the context is open."""
    async with AsyncExitStack() as closing:
        metrics = _metrics(settings)
        promises, counters, reading = _connections(settings, metrics, closing)
        store = StoreClient(
            base_url=settings.store_url,
            token=settings.store_token.get_secret_value(),
            timeout_seconds=settings.store_timeout_seconds,
            retry_seconds=settings.store_retry_seconds,
            metrics=metrics,
        )
        closing.push_async_callback(close_all, store.close)
        publisher = _publisher(promises, settings, clock)
        feed = Feed(reading, metrics=metrics, ring_entries=settings.feed_ring_entries, ring_bytes=settings.feed_ring_bytes)
        key_ring, key_uses = _key_ring(store, settings, metrics, clock), KeyUseReporter(store, clock=clock)
        closing.push_async_callback(close_all, key_uses.report)
        _start("publisher", publisher.run(), closing)
        _start("feed", feed.run(), closing)
        _start("key ring", key_ring.run(), closing)
        _start("key uses", run_loop(key_uses, asyncio.Event(), on_pass=metrics.note_pass), closing)
        yield Means(
            publisher=publisher,
            quotas=Quotas(counters, timeout_seconds=settings.quota_timeout_seconds),
            store=store,
            idempotency=IdempotencyRecords(
                promises,
                limits=settings.record_limits,
                clock=clock,
                metrics=metrics,
                timeout_seconds=settings.accept_timeout_seconds,
            ),
            batches=settings.batches,
            planner=_planner(store, settings, metrics, clock, closing),
            feed=feed,
            tickets=Tickets(reading, ttl_seconds=settings.ticket_ttl_seconds, per_key_limit=settings.tickets_per_key_limit),
            sessions=Sessions(reading, ttl_seconds=settings.session_ttl_seconds, per_key_limit=settings.sessions_per_key_limit),
            credentials=Credentials(
                first_key=settings.api_key.get_secret_value(), ring=key_ring, uses=key_uses, clock=clock
            ),
            overview=OverviewReader(store, max_age_seconds=settings.overview_max_age_seconds),
            is_public_https=settings.public_https,
            feed_clients=_room(
                Gate.FEED_CLIENTS, metrics, settings.feed_clients_limit, each=settings.feed_clients_per_key_limit
            ),
            batch_uploads=_room(Gate.BATCHES, metrics, settings.batches_limit, each=settings.batches_per_key_limit),
            waits=_room(Gate.WAITS, metrics, settings.waits_limit, each=settings.waits_per_key_limit),
            stream_pace=StreamPace(
                ping_seconds=settings.feed_ping_seconds, send_timeout_seconds=settings.feed_send_timeout_seconds
            ),
            wait_limit_seconds=settings.wait_limit_seconds,
            is_let_in=lambda principal: key_ring.is_good(principal, now=clock()),
            key_ring=key_ring,
            key_uses=key_uses,
            key_environment=settings.key_environment,
            phase=Phase(),
            metrics=metrics,
            clock=clock,
        )


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


def _connections(
    settings: GatewaySettings, metrics: GatewayMetrics, closing: AsyncExitStack
) -> tuple[Redis, Redis, Redis]:
    """For promises, counters and the feed: who asks too often, and who reads, holds up nobody's promise."""
    url = settings.events_url.get_secret_value()
    connections = (
        connect_redis(url, timeout_seconds=settings.accept_timeout_seconds),
        connect_redis(url, timeout_seconds=settings.quota_timeout_seconds),
        connect_redis(url, max_connections=FEED_CONNECTIONS),
    )
    for pool, connection in zip(POOLS, connections, strict=True):
        metrics.chassis.watch_pool(pool, connection)
    closing.push_async_callback(close_all, *(connection.aclose for connection in connections))
    return connections


def _publisher(redis: Redis, settings: GatewaySettings, clock: Clock) -> Publisher:
    return Publisher(
        redis,
        source=f"gateway/{settings.instance}",
        clock=clock,
        ingesting_limit=settings.ingesting_limit_fetches,
        timeout_seconds=settings.accept_timeout_seconds,
        record_limits=settings.record_limits,
    )


def _key_ring(store: StoreClient, settings: GatewaySettings, metrics: GatewayMetrics, clock: Clock) -> KeyRing:
    return KeyRing(
        store,
        clock=clock,
        poll_seconds=settings.key_poll_seconds,
        stale_limit_seconds=settings.key_stale_limit_seconds,
        lookups_limit=settings.key_lookups_limit,
        metrics=metrics,
    )


def _planner(
    store: StoreClient, settings: GatewaySettings, metrics: GatewayMetrics, clock: Clock, closing: AsyncExitStack
) -> Planner:
    names = NameLookup(
        settings.target_policy, timeout_seconds=settings.plan_lookup_timeout_seconds, threads=settings.plan_lookups_limit
    )
    closing.callback(names.close)
    return create_planner(settings, names=names, store=store, metrics=metrics, clock=clock)


def _room(gate: Gate, metrics: GatewayMetrics, limit: int, *, each: int) -> WaitingRoom:
    return WaitingRoom(gate, metrics=metrics, limit=limit, per_caller_limit=each)


def _start(name: str, loop: Coroutine[Any, Any, None], closing: AsyncExitStack) -> None:
    """Run a loop until all is closed."""
    closing.push_async_callback(end_task, asyncio.create_task(loop, name=name))


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
