"""Celery's consumer, but for messages that are no task of ours, and for how soon it is back.

Of those messages each is dropped and counted, and none is ever quoted.

Celery writes such a message into its log, where the credentials of a request do not belong, and ends the worker at a body of
another shape. That message would then be put back on the way out, and end the next worker. A dropped command is recovered by
its lease.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from kombu.message import Message

from fetcher.errors import RejectionReason

Reject = Callable[[RejectionReason, str], None]
"""Is told why a message is no command, and of which class the error was."""

MALFORMED = (ValueError, TypeError, LookupError, AttributeError)
"""What Celery trips over when a message is not shaped as it expects; what is no message of kombu's at all never gets here."""

RECONNECT_FIRST_SECONDS, RECONNECT_LIMIT_SECONDS = 0.5, 2.0

celery_log = get_logger(__name__)


class CommandConsumer(Consumer):  # type: ignore[misc]
    """What a worker has in place of Celery's own consumer."""

    def __init__(self, *arguments: Any, reject: Reject, **named: Any) -> None:
        self._reject = reject
        super().__init__(*arguments, **named)

    def ensure_connected(self, conn: Any) -> Any:
        """Try until the broker is there, two seconds apart at most. Celery's own pause grows to half a minute."""
        pauses = {"interval_start": RECONNECT_FIRST_SECONDS, "interval_step": 0.5, "interval_max": RECONNECT_LIMIT_SECONDS}
        conn.ensure_connection = partial(conn.ensure_connection, **pauses)
        return super().ensure_connected(conn)

    def create_task_handler(self, *arguments: Any, **named: Any) -> Callable[[Message], None]:
        """What takes each message. Raises errors of the connection only."""
        take = super().create_task_handler(*arguments, **named)

        def take_or_drop(message: Message) -> None:
            try:
                take(message)
            except MALFORMED as error:
                self._drop(message, RejectionReason.UNDECODABLE, error)

        return take_or_drop

    def on_unknown_message(self, body: object, message: Message) -> None:
        """It names no task at all."""
        self._drop(message, RejectionReason.UNDECODABLE, None)

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:
        """It names a task of another release."""
        self._drop(message, RejectionReason.UNKNOWN_TASK, exc)

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:
        """Its content type is not accepted, or its body is no task's."""
        self._drop(message, RejectionReason.UNDECODABLE, exc)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Its body is not what its content type says."""
        self._drop(message, RejectionReason.UNDECODABLE, exc)

    def _drop(self, message: Message, reason: RejectionReason, error: Exception | None) -> None:
        self._reject(reason, type(error).__name__ if error is not None else "UnknownMessage")
        if not message.acknowledged:
            message.reject_log_error(celery_log, self.connection_errors)  # type: ignore[no-untyped-call]
