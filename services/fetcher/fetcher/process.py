"""The composition root of everything but Celery: one event loop in a thread of its own, and all that lives on it.

Started before the Celery worker and closed after it, so that every attempt the worker began can still be reported.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from threading import Thread
from time import monotonic

import structlog
import uvloop
from common.chassis.health import Check, Soft
from common.chassis.lifecycle import close_all, end_task
from common.chassis.operations_port import OperationsPort
from common.chassis.phase import Phase
from common.chassis.watcher import Watcher
from common.clock import Clock, utc_now
from common.streams.connection import connect_redis
from redis.asyncio import Redis

from fetcher.announce import announce
from fetcher.egress.client import EgressClient
from fetcher.errors import RejectionReason
from fetcher.ledger_clock import LedgerClock
from fetcher.metrics import FetcherMetrics
from fetcher.politeness.robots import RobotsGate
from fetcher.politeness.robots_metrics import RobotsMetrics
from fetcher.politeness.robots_store import RobotsStore
from fetcher.politeness.slowdowns import Slowdowns
from fetcher.progress import Progress
from fetcher.report import Reporter, StoreAddress, store_session
from fetcher.settings import FetcherSettings
from fetcher.slots import Slots
from fetcher.takes import Takes
from fetcher.tasks import Tasks

START_TIMEOUT_SECONDS = 10.0
CLOSE_TIMEOUT_SECONDS = 10.0
BROKER_TIMEOUT_SECONDS = 2.0
STUCK_EXIT_CODE = 3
"""Neither a crash nor faulty settings: the worker took no commands and ended itself, so that it is started again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """A fetcher that runs on the current loop. Set `draining` to stop announcing it, `idle` when no batch will come.

    When it is stuck it has set both itself.
    """

    tasks: Tasks
    slots: Slots
    progress: Progress
    metrics_port: int
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    draining: asyncio.Event
    idle: asyncio.Event


@asynccontextmanager
async def open_fetcher(settings: FetcherSettings, *, worker: str, clock: Clock = utc_now) -> AsyncIterator[Fetcher]:
    """Build and start everything on the running loop; on leaving, close it in order. Does not wait for attempts."""
    slots, phase, idle = Slots(settings.fetcher_slots), Phase(), asyncio.Event()
    draining = phase.draining
    metrics = FetcherMetrics(slots, large_bodies=settings.fetcher_large_bodies)
    events, broker = _connections(settings, metrics)
    client = _open_client(settings, metrics)
    loop = asyncio.get_running_loop()
    ledger_clock = clock = LedgerClock(wall=clock, now=monotonic, registry=metrics.registry)
    slowdowns = Slowdowns(clock=clock, metrics=metrics)
    store = StoreAddress(url=settings.store_url, token=settings.store_token.get_secret_value())
    progress = Progress(slots, stuck_seconds=settings.stuck_seconds, clock=clock, now=loop.time, registry=metrics.registry)
    async with store_session() as session:
        kept = RobotsStore(store, session=session, clock=clock)
        robots = _open_robots(client, kept, metrics=metrics, user_agent=settings.user_agent, clock=clock)
        reporter = Reporter(events, store=store, session=session, metrics=metrics, clock=clock)
        keeping_time = loop.create_task(ledger_clock.keep(store, session=session, stopping=draining))
        publishing = loop.create_task(reporter.run())
        telling = loop.create_task(slowdowns.run(broker))
        watching = loop.create_task(progress.watch(broker, stopping=draining, stuck=(draining, idle)))
        announcing = loop.create_task(announce(broker, worker=worker, slots=slots.count, stopping=draining))
        checks = _checks(events=events, broker=broker, store=reporter.check_store)
        watcher = loop.create_task(Watcher(checks, metrics=metrics.chassis).run())
        operations = _operations(settings, metrics, checks=checks, progress=progress, phase=phase)
        operations.start()
        tasks = Tasks(
            loop,
            slots=slots,
            client=client,
            reporter=reporter,
            metrics=metrics,
            worker=worker,
            clock=clock,
            robots=robots,
            slowdowns=slowdowns,
            draining=draining,
            takes=Takes(broker),
        )
        try:
            phase.begin_serving()
            yield Fetcher(
                tasks=tasks, slots=slots, progress=progress, metrics_port=operations.port, draining=draining, idle=idle
            )
        finally:
            draining.set()
            await close_all(
                lambda: announcing,
                lambda: watching,
                lambda: keeping_time,
                robots.close,
                client.close,
                partial(end_task, telling),
                partial(end_task, publishing),
                partial(end_task, watcher),
                partial(asyncio.to_thread, operations.close),
                events.aclose,
                broker.aclose,
            )


def _connections(settings: FetcherSettings, metrics: FetcherMetrics) -> tuple[Redis, Redis]:
    """To the events Redis and to the broker."""
    events = connect_redis(settings.events_url.get_secret_value())
    broker = connect_redis(settings.broker_url.get_secret_value(), timeout_seconds=BROKER_TIMEOUT_SECONDS)
    metrics.chassis.watch_pool("events", events)
    metrics.chassis.watch_pool("broker", broker)
    return events, broker


def _operations(
    settings: FetcherSettings, metrics: FetcherMetrics, *, checks: dict[str, Check], progress: Progress, phase: Phase
) -> OperationsPort:
    metrics.chassis.draining.set_function(lambda: phase.is_draining)
    return OperationsPort(
        bind=settings.metrics_bind,
        port=settings.metrics_port,
        registry=metrics.registry,
        checks=checks,
        liveness={"worker": progress.check},
        phase=phase,
        loop=asyncio.get_running_loop(),
    )


def _open_client(settings: FetcherSettings, metrics: FetcherMetrics) -> EgressClient:
    client = EgressClient(
        settings.target_policy,
        user_agent=settings.user_agent,
        contact=settings.contact or None,
        budgets=settings.budgets,
        proxy=settings.egress_proxy,
        keeping=settings.keeping,
        on_evicted=metrics.evicted_connections.inc,
    )
    metrics.idle_connections.set_function(lambda: client.idle_connections)
    return client


def _open_robots(
    client: EgressClient, kept: RobotsStore, *, metrics: FetcherMetrics, user_agent: str, clock: Clock
) -> RobotsGate:
    return RobotsGate(client, store=kept, metrics=RobotsMetrics(metrics.registry), user_agent=user_agent, clock=clock)


class FetcherThread:
    """A fetcher on a loop in a thread of its own. All methods are for other threads."""

    def __init__(self, settings: FetcherSettings, *, clock: Clock = utc_now) -> None:
        # A restarted replica is another worker than the one that died; in a container both have the same process id.
        self.worker = f"{settings.instance}-{os.getpid()}-{token_hex(2)}"
        self._settings = settings
        self._clock = clock
        self._started: Future[Fetcher] = Future()
        self._thread = Thread(target=self._run, name="event-loop", daemon=True)

    def start(self) -> None:
        """Start the loop and wait until it serves. Raises what kept it from starting."""
        self._thread.start()
        fetcher = self._started.result(timeout=START_TIMEOUT_SECONDS)
        log.info("fetcher started", worker=self.worker, slots=fetcher.slots.count, metrics_port=fetcher.metrics_port)
        if not self._settings.contact:  # RFC 9110 section 10.1.2: a robot should send From
            log.warning("no contact", setting="FETCHWORK_CONTACT", effect="origins cannot tell who answers for this robot")

    def take_batch(self, message: str) -> None:
        """The body of the Celery task; see `Tasks.take_batch`."""
        fetcher = self._started.result()
        fetcher.progress.note_taken()
        fetcher.tasks.take_batch(message)

    def reject(self, reason: RejectionReason, error_class: str) -> None:
        """A message that is no task of ours; see `Tasks.reject`."""
        fetcher = self._started.result()
        fetcher.progress.note_taken()
        fetcher.tasks.reject(reason, error_class)

    def begin_drain(self) -> None:
        """Stop announcing this worker, and give what runs its last time. Idempotent; safe in a signal handler."""
        fetcher = self._started.result()
        if self._thread.is_alive():
            fetcher.loop.call_soon_threadsafe(fetcher.draining.set)

    def close(self) -> None:
        """After the last batch: wait for attempts in flight and their publication, up to the drain limit; end the loop."""
        fetcher = self._started.result()
        self.begin_drain()
        fetcher.loop.call_soon_threadsafe(fetcher.idle.set)
        self._thread.join(timeout=self._settings.fetcher_drain_seconds + CLOSE_TIMEOUT_SECONDS)
        log.info("fetcher stopped", worker=self.worker, attempts_left=fetcher.slots.busy)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                is_stuck = runner.run(self._serve())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
        else:
            if is_stuck:  # the main thread, which is Celery's, may be what hangs
                sys.stdout.flush()
                os._exit(STUCK_EXIT_CODE)

    async def _serve(self) -> bool:
        """Until the end; True when that is because the worker was stuck."""
        async with open_fetcher(self._settings, worker=self.worker, clock=self._clock) as fetcher:
            self._started.set_result(fetcher)
            await fetcher.draining.wait()
            fetcher.slots.wake()
            drain_ends_at = fetcher.loop.time() + self._settings.fetcher_drain_seconds
            # Celery threads may still wait for slots, and Celery waits for its threads: the limit holds for them too.
            fetcher.loop.call_at(drain_ends_at, fetcher.slots.close)
            await fetcher.idle.wait()
            is_stuck = fetcher.progress.is_stuck
            await fetcher.tasks.finish(seconds=drain_ends_at - fetcher.loop.time())
            return is_stuck


def _checks(*, events: Redis, broker: Redis, store: Check) -> dict[str, Check]:
    async def ping(redis: Redis) -> None:
        await redis.ping()

    return {"events": partial(ping, events), "broker": partial(ping, broker), "store": Soft(store)}
