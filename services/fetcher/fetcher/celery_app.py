"""The only file with Celery configuration: one queue, one task, and every option with its reason.

Celery is transport here, never the record. A message that it loses, repeats or keeps too long costs nothing: the lease in the
store's queue recovers every command, and is the only thing that does.
"""

import os
import signal
from collections.abc import Callable
from functools import partial
from types import FrameType

from celery import Celery
from celery.worker import WorkController, state
from common.contracts.catalog import FETCH_PERFORM
from common.streams.names import COMMAND_QUEUE

from fetcher.consumer import CommandConsumer, Reject
from fetcher.settings import FetcherSettings

STOP_POLL_SECONDS = 0.5
HURRIED_EXIT_CODE = 1

TRANSPORT_OPTIONS = {
    "socket_timeout": 10,  # a half-open connection must fail, not wait for ever
    "socket_connect_timeout": 2,  # an unreachable broker is found out quickly; Celery tries again by itself
    "socket_keepalive": True,  # NAT tables forget an idle consumer
    "health_check_interval": 10,  # kombu drops a BRPOP that is overdue by this much: the "alive but deaf" worker
    "retry_on_timeout": True,  # a slow reply is not worth a reconnect of the whole consumer
    "visibility_timeout": 600,  # longer than any lease: what Redis restores by itself is already void, never a duplicate
    "unacked_mutex_expire": 30,  # a worker killed while it restores must not stop all others for the default 300 s
    "priority_steps": [0],  # one list, one BRPOP key: priority is the dispatcher's business
}


def create_app(settings: FetcherSettings, *, take_batch: Callable[[str], None]) -> Celery:
    """The Celery application, with `take_batch` as the body of its one task. Nothing is connected yet."""
    app = Celery("fetchwork.fetcher", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        # What a message may be: JSON only, since whoever can write to the broker must not be able to run code here.
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        # Which queue: one, direct, so that no binding set in Redis decides where a message goes.
        task_default_queue=COMMAND_QUEUE,
        task_create_missing_queues=False,  # a misspelled queue must fail, not consume from nowhere
        # Delivery: acknowledged as it starts, since what happens to it afterwards is the lease's business, not Celery's.
        task_acks_late=False,
        worker_prefetch_multiplier=1,  # hoard nothing: a batch in this process's memory is one no idle worker can take
        task_track_started=False,
        task_ignore_result=True,  # outcomes are events on a stream; a result backend would be a second, lossy record
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        # Connection: never give up, neither at start nor later; the supervisor would only start us into the same outage.
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
        broker_transport_options=TRANSPORT_OPTIONS,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a lost broker does not spoil a running fetch
        worker_enable_prefetch_count_reduction=False,  # shrinking credit parks popped messages in the socket (kombu 5.7)
        # Nobody talks to workers through the broker: whoever can publish could otherwise shut them down.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        # Logs are configured by the chassis.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Time limits do not exist in the thread pool; deadlines are asyncio's. UTC because every clock here is.
        enable_utc=True,
        timezone="UTC",
    )
    app.task(take_batch, name=FETCH_PERFORM, shared=False, typing=False)
    app.set_default()  # pool threads look the application up there
    app.finalize()
    return app


def stop_on_signals(on_stop: Callable[[], None]) -> None:
    """From now on the first SIGTERM or SIGINT makes a worker stop in order and calls `on_stop`; the second ends the process."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if state.should_stop is not None:
            os._exit(HURRIED_EXIT_CODE)
        state.should_stop = 0  # what Celery's own handler sets: the exit code of a warm shutdown
        on_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def run_worker(app: Celery, *, name: str, threads: int, reject: Reject) -> int:
    """Consume until told to stop, in this thread; return the exit code. `reject` is told of messages that are no task of ours.

    A worker that stops takes no further message, puts those that wait in memory back, and waits for the tasks that run.
    `WorkController` is Celery's worker without its command-line program: that would install signal handlers of its own, among
    them one that re-executes the process on SIGHUP, and set up logs.
    """
    worker = WorkController(
        app=app,
        hostname=f"fetcher@{name}",
        pool="threads",  # the one stock pool whose tasks share a process, and so its event loop
        concurrency=threads,
        queues=[COMMAND_QUEUE],
        consumer_cls=partial(CommandConsumer, reject=reject),
        loglevel="WARNING",
        # Workers do not talk to each other: all three cost broker traffic and are behind known stalls after reconnects.
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    )
    # A saturated worker's hub may sleep for ten seconds; a stop must not wait for that.
    worker.timer.call_repeatedly(STOP_POLL_SECONDS, state.maybe_shutdown)
    worker.start()
    return int(worker.exitcode or 0)
