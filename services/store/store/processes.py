"""The composition root: builds the store's parts once and runs them until told to stop."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from common.chassis.lifecycle import Loop, run_loop
from common.chassis.operations_port import serve_operations
from common.chassis.phase import CloseWhileDraining, Phase
from common.chassis.watcher import Watcher
from common.clock import utc_now
from common.streams.connection import BLOCK_MILLISECONDS, connect_redis
from common.streams.consumer import StreamMember
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, COMMAND_QUEUE, STORE_GROUP
from redis.asyncio import Redis

from store.api.access import Access
from store.api.server import Server
from store.app import create_app
from store.consumer import Ingest
from store.database import Pool, open_pool
from store.dispatch.claim import Lease
from store.dispatch.commands import CommandSender, create_celery_app
from store.dispatch.dispatcher import Dispatcher, DispatchLimits
from store.handlers import AcceptHandler, Data, Handler, RecordHandler
from store.hosts.pace import PaceSettings
from store.maintenance.abandoner import Abandoner
from store.maintenance.census import Census
from store.maintenance.content_pruner import ContentPruner
from store.maintenance.expirer import Expirer
from store.maintenance.fetch_pruner import FetchPruner
from store.maintenance.follower_finisher import FollowerFinisher
from store.maintenance.follower_promoter import FollowerPromoter
from store.maintenance.host_census import HostCensus
from store.maintenance.host_keeper import HostKeeper
from store.maintenance.quota_keeper import QuotaKeeper
from store.maintenance.redis_census import RedisCensus
from store.maintenance.refuser import Refuser
from store.maintenance.robots_pruner import RobotsPruner
from store.maintenance.size_census import SizeCensus
from store.maintenance.stream_trimmer import StreamTrimmer
from store.maintenance.traffic_sampler import TrafficSampler
from store.metrics import DEPENDENCIES, StoreMetrics
from store.migrate import migrate
from store.outbox.relay import Relay
from store.readiness import store_checks
from store.settings import StoreSettings

GRACEFUL_SHUTDOWN_SECONDS = 5
LOOPS_STOP_SECONDS = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all loops and routes share."""

    settings: StoreSettings
    pool: Pool
    events: Redis
    broker: Redis
    metrics: StoreMetrics

    @property
    def source(self) -> str:
        """Who sends our events (CloudEvents `source`)."""
        return f"store/{self.settings.instance}"

    @property
    def pace(self) -> PaceSettings:
        """The pace of hosts that asked for nothing, and when they are left alone."""
        settings = self.settings
        return PaceSettings(
            delay_ms=settings.host_delay_ms,
            max_in_flight=settings.host_max_in_flight,
            train_seconds=settings.train_seconds,
            train_fetches=settings.train_fetches,
            breaker_failures=settings.breaker_failures,
            breaker_seconds=settings.breaker_seconds,
            breaker_limit_seconds=settings.breaker_limit_seconds,
        )


async def run_store(settings: StoreSettings, stopping: asyncio.Event) -> None:
    """Serve, ingest and dispatch until `stopping` is set, serve for `drain_seconds` more, finish what is under way, and close."""
    if settings.migrate_on_start:
        for migration in await migrate(settings.database_url.get_secret_value()):
            log.info("migration applied", migration=migration.version, name=migration.name)
    async with _open_parts(settings) as parts, _sender(parts) as sender:
        dispatcher = _dispatcher(parts, sender)
        relay = Relay(pool=parts.pool, redis=parts.events, metrics=parts.metrics)
        ingests, members = _ingests(parts, dispatcher=dispatcher, relay=relay)
        phase = Phase(draining=stopping)
        server = _api_server(parts, dispatcher=dispatcher, relay=relay, phase=phase)
        checks = store_checks(
            pool=parts.pool, events=parts.events, broker=parts.broker, has_fetcher=lambda: dispatcher.has_fetcher
        )
        watched = {name: checks[name] for name in DEPENDENCIES}
        parts.metrics.chassis.draining.set_function(stopping.is_set)
        async with serve_operations(
            bind=settings.metrics_bind,
            port=settings.metrics_port,
            registry=parts.metrics.registry,
            checks=checks,
            phase=phase,
            watcher=Watcher(watched, metrics=parts.metrics.chassis),
        ):
            loops: list[Loop] = [dispatcher, relay, *ingests, *_maintenance(parts, members)]
            await _run(loops, server, stopping, metrics=parts.metrics, drain_seconds=settings.drain_seconds)


async def _run(
    loops: list[Loop], server: Server, stopping: asyncio.Event, *, metrics: StoreMetrics, drain_seconds: float
) -> None:
    metrics.loops.expect(*(loop.name for loop in loops))
    tasks = [asyncio.create_task(run_loop(loop, stopping, on_pass=metrics.loops.note), name=loop.name) for loop in loops]
    serving = asyncio.create_task(server.serve(), name="api")
    log.info("store started", loops=[loop.name for loop in loops])
    await asyncio.wait([serving, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    await asyncio.wait([serving], timeout=drain_seconds)  # the loops end meanwhile
    server.should_exit = True
    _, unfinished = await asyncio.wait([*tasks, serving], timeout=LOOPS_STOP_SECONDS)
    for task in unfinished:  # a pass that hangs; what it had not committed is delivered again
        task.cancel()
    await asyncio.gather(*tasks, serving, return_exceptions=True)
    log.info("store stopped", cancelled=[task.get_name() for task in unfinished])


@asynccontextmanager
async def _open_parts(settings: StoreSettings) -> AsyncIterator[Parts]:
    events = connect_redis(settings.events_url.get_secret_value())
    broker = connect_redis(settings.broker_url.get_secret_value())
    try:
        metrics = StoreMetrics()
        metrics.show_limits(settings.limits, rounds=settings.dispatch_rounds)
        url = settings.database_url.get_secret_value()
        async with open_pool(url, size=settings.database_pool_size, observer=metrics.servers) as pool:
            metrics.servers.show_connections(pool)
            metrics.chassis.watch_pool("events", events)
            metrics.chassis.watch_pool("broker", broker)
            yield Parts(settings=settings, pool=pool, events=events, broker=broker, metrics=metrics)
    finally:
        await events.aclose()
        await broker.aclose()


@asynccontextmanager
async def _sender(parts: Parts) -> AsyncIterator[CommandSender]:
    sender = CommandSender(create_celery_app(parts.settings.broker_url.get_secret_value()), source=parts.source)
    try:
        yield sender
    finally:
        sender.close()


def _dispatcher(parts: Parts, sender: CommandSender) -> Dispatcher:
    settings = parts.settings
    limits = DispatchLimits(
        claim_fetches=settings.dispatch_claim_fetches,
        batch_fetches=settings.dispatch_batch_fetches,
        leased_fetches=settings.dispatch_leased_fetches,
        rounds=settings.dispatch_rounds,
        poll_seconds=settings.dispatch_poll_ms / 1000,
    )
    lease = Lease(margin_seconds=settings.lease_margin_seconds, abandon_after_dispatches=settings.abandon_after_dispatches)
    return Dispatcher(
        pool=parts.pool,
        broker=parts.broker,
        sender=sender,
        limits=limits,
        lease=lease,
        pace=parts.pace,
        metrics=parts.metrics,
    )


def _ingests(parts: Parts, *, dispatcher: Dispatcher, relay: Relay) -> tuple[list[Loop], list[StreamMember]]:
    settings = parts.settings
    accepted = _member(parts, ACCEPTED_STREAM, count=settings.ingest_batch_entries)
    attempted = _member(parts, ATTEMPTED_STREAM, count=settings.record_batch_entries)
    accept = AcceptHandler(
        metrics=parts.metrics,
        source=parts.source,
        coalesce_wait_seconds=settings.coalesce_wait_seconds,
        priority_step_seconds=settings.priority_step_seconds,
        wake_dispatcher=dispatcher.wake.set,
        wake_relay=relay.wake.set,
    )
    record = RecordHandler(
        metrics=parts.metrics,
        source=parts.source,
        pace=parts.pace,
        jitter=random.SystemRandom().random,
        wake_dispatcher=dispatcher.wake.set,
        wake_relay=relay.wake.set,
    )
    return [_ingest(parts, accepted, accept), _ingest(parts, attempted, record)], [accepted, attempted]


def _ingest(parts: Parts, member: StreamMember, handler: Handler[Data]) -> Loop:
    return Ingest(
        redis=parts.events,
        member=member,
        pool=parts.pool,
        handler=handler,
        metrics=parts.metrics,
        takeover_idle_ms=parts.settings.takeover_idle_ms,
    )


def _member(parts: Parts, stream: str, *, count: int) -> StreamMember:
    return StreamMember(
        parts.events,
        stream=stream,
        group=STORE_GROUP,
        name=f"store-{parts.settings.instance}",
        count=count,
        block_ms=BLOCK_MILLISECONDS,
    )


def _maintenance(parts: Parts, members: list[StreamMember]) -> list[Loop]:
    settings = parts.settings
    return [
        Abandoner(
            pool=parts.pool, after_dispatches=settings.abandon_after_dispatches, source=parts.source, metrics=parts.metrics
        ),
        Expirer(pool=parts.pool, source=parts.source, metrics=parts.metrics),
        Refuser(
            pool=parts.pool,
            pace=parts.pace,
            patience_seconds=settings.breaker_patience_seconds,
            source=parts.source,
            metrics=parts.metrics,
        ),
        FollowerFinisher(pool=parts.pool, source=parts.source, metrics=parts.metrics),
        FollowerPromoter(pool=parts.pool),
        HostKeeper(pool=parts.pool, retention_seconds=settings.host_retention_seconds, metrics=parts.metrics),
        QuotaKeeper(pool=parts.pool, redis=parts.events, metrics=parts.metrics),
        RobotsPruner(
            pool=parts.pool,
            retention_seconds=settings.robots_retention_seconds,
            limit_bytes=settings.robots_limit_bytes,
            metrics=parts.metrics,
        ),
        FetchPruner(
            pool=parts.pool,
            fetch_retention_seconds=settings.fetch_retention_seconds,
            dead_letter_retention_seconds=settings.dead_letter_retention_seconds,
            limit=settings.prune_limit_rows,
            metrics=parts.metrics,
        ),
        ContentPruner(pool=parts.pool, redis=parts.events, limit=settings.prune_limit_rows, metrics=parts.metrics),
        StreamTrimmer(
            redis=parts.events,
            clock=utc_now,
            accepted_retention_seconds=settings.accepted_retention_seconds,
            feed_retention_seconds=settings.feed_retention_seconds,
        ),
        TrafficSampler(pool=parts.pool, retention_seconds=settings.traffic_retention_seconds),
        Census(pool=parts.pool, redis=parts.events, members=members, metrics=parts.metrics),
        *_censuses(parts),
    ]


def _censuses(parts: Parts) -> list[Loop]:
    """Each by itself, so that one server that is away leaves the gauges of the others true."""
    top_hosts = parts.settings.metrics_top_hosts
    named = [HostCensus(pool=parts.pool, top_hosts=top_hosts, metrics=parts.metrics)] if top_hosts else []
    return [
        RedisCensus("events", redis=parts.events, metrics=parts.metrics.servers),
        RedisCensus("broker", redis=parts.broker, metrics=parts.metrics.servers, commands=COMMAND_QUEUE),
        SizeCensus(pool=parts.pool, metrics=parts.metrics),
        *named,
    ]


def _api_server(parts: Parts, *, dispatcher: Dispatcher, relay: Relay, phase: Phase) -> Server:
    settings = parts.settings
    access = Access(
        pool=parts.pool,
        events=parts.events,
        source=parts.source,
        token=settings.store_token.get_secret_value(),
        upload_limit_bytes=settings.content_upload_limit_bytes,
        has_fetcher=lambda: dispatcher.has_fetcher,
        fleet=lambda: dispatcher.fleet,
        pace=parts.pace,
        metrics=parts.metrics,
        wake_dispatcher=dispatcher.wake.set,
        wake_relay=relay.wake.set,
    )
    app = create_app(access)
    app.add_middleware(CloseWhileDraining, phase=phase)
    config = uvicorn.Config(
        app,
        host=settings.store_bind,
        port=settings.store_port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
        limit_concurrency=1000,
    )
    return Server(config, at_start=phase.begin_serving)
