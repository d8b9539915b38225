"""Send commands to the fetchers through Celery. The only place in the store that knows Celery.

A sent command is a hint, not a promise: the lease in Postgres recovers whatever the broker loses.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from celery import Celery
from common.chassis.telemetry import current_traceparent
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import PerformFetch, PerformFetches
from common.streams.names import COMMAND_QUEUE
from kombu.exceptions import OperationalError

from store.errors import BrokerUnavailable
from store.spans import dispatch_spans

SEND_TIMEOUT_SECONDS = 5.0
SOCKET_TIMEOUT_SECONDS = 3.0


def create_celery_app(broker_url: str) -> Celery:
    """A Celery application that can only publish: no result backend, no retries, JSON, a bounded connection pool."""
    app = Celery("fetchwork-store", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,  # the lease retries; a publish of unknown fate must not be sent twice on purpose
        task_send_sent_event=False,
        broker_pool_limit=2,
        broker_connection_timeout=2,
        broker_transport_options={
            "socket_timeout": SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "priority_steps": [0],
        },
    )
    return app


class CommandSender:
    """Publishes batches of attempts, off the event loop, one after another."""

    def __init__(self, app: Celery, *, source: str) -> None:
        self._app = app
        self._source = source
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="command-sender")

    async def send(self, commands: Sequence[PerformFetch]) -> None:
        """Hand one batch to the broker. Raises BrokerUnavailable; the batch may have left all the same."""
        with dispatch_spans(commands) as carried:
            envelope = Envelope[PerformFetches].wrap(
                PerformFetches(fetches=tuple(carried)),
                type=FETCH_PERFORM,
                source=self._source,
                subject=str(commands[0].id),
                now=utc_now(),
                traceparent=current_traceparent(),
            )
            text = envelope.model_dump_json(exclude_none=True)
            try:
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    await asyncio.get_running_loop().run_in_executor(self._executor, self._publish, text)
            except (OperationalError, OSError) as error:
                raise BrokerUnavailable(type(error).__name__) from error

    def close(self) -> None:
        """Stop sending; a batch that is being sent may still leave."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._app.close()

    def _publish(self, text: str) -> None:
        self._app.send_task(FETCH_PERFORM, args=[text], queue=COMMAND_QUEUE, ignore_result=True)
