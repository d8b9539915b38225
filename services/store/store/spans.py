"""The store's spans: one for each set of stream entries, one for each fetch in it, one for each statement. None unless exported.

A set is taken from many traces and belongs to none of them: its span links to where each entry comes from. What it does to one
fetch is a span in the trace of that fetch, so that this goes on from the request to the recorded row.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from uuid import UUID

import asyncpg
from common.chassis.telemetry import (
    Attributes,
    begin,
    current_traceparent,
    fail,
    is_exporting,
    message_attributes,
    step,
    traceparent_of,
)
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchAttempted, FetchesAccepted, PerformFetch
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, COMMAND_QUEUE
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

SUMMARY_LIMIT_CHARACTERS = 60


def set_span(stream: str, events: Sequence[Envelope[Any]]) -> AbstractContextManager[Span]:
    """The span of applying these entries together. One that came alone is applied in its own trace, statements and all."""

    def describe() -> Attributes:
        return message_attributes(stream, "process") | {"messaging.batch.message_count": len(events)}

    traceparents = [event.traceparent for event in events]
    return step(
        f"process {stream}",
        kind=SpanKind.CONSUMER,
        traceparent=traceparents[0] if len(traceparents) == 1 else None,
        links=traceparents,
        describe=describe,
    )


def accept_spans(events: Iterable[Envelope[FetchesAccepted]]) -> dict[UUID, Span]:
    """A span for each fetch, whose trace it goes on with; end them when they are committed.

    The fetches of a batch have a trace each, with a link to where the batch was promised: in one trace, ten thousand of them
    could be neither looked at nor sampled.
    """
    if not is_exporting():
        return {}
    return {fetch.id: _accept_span(fetch, event) for event in events for fetch in event.data.fetches}


def record_spans(events: Iterable[Envelope[FetchAttempted]]) -> list[Span]:
    """A span for each attempt; end them when they are committed."""
    return [_record_span(event) for event in events] if is_exporting() else []


def end_all(spans: Iterable[Span]) -> None:
    """End spans whose effect is committed. Those of a transaction that failed are never ended, and never seen."""
    for span in spans:
        span.end()


@contextmanager
def dispatch_spans(commands: Sequence[PerformFetch]) -> Iterator[Sequence[PerformFetch]]:
    """The commands as they are to be sent: each in the trace of its fetch, under a span of its own, and one span for the send.

    That links to those of the commands, as the semantic conventions have it for messages that are sent together.
    """
    if not is_exporting():
        yield commands
        return
    spans = [_dispatch_span(command) for command in commands]
    carried = [traceparent_of(span) for span in spans]

    def describe() -> Attributes:
        attributes = message_attributes(COMMAND_QUEUE, "send", system="celery")
        return attributes | {"messaging.batch.message_count": len(commands)}

    try:
        with step(f"send {COMMAND_QUEUE}", kind=SpanKind.CLIENT, links=carried, describe=describe):
            yield [
                command.model_copy(update={"traceparent": traceparent})
                for command, traceparent in zip(commands, carried, strict=True)
            ]
    except BaseException as error:
        for span in spans:
            fail(span, type(error).__name__)
        raise
    finally:
        end_all(spans)


def statement_spans(connection: asyncpg.pool.PoolConnectionProxy) -> AbstractContextManager[None]:
    """A span for each statement of the block, under the current span; none outside any, as in loops that look for work."""
    if not is_exporting() or not trace.get_current_span().get_span_context().trace_flags.sampled:
        return nullcontext()
    logger: AbstractContextManager[None] = connection.query_logger(_note_statement)
    return logger


def _accept_span(fetch: AcceptedFetch, event: Envelope[FetchesAccepted]) -> Span:
    def describe() -> Attributes:
        attributes = message_attributes(ACCEPTED_STREAM, "process") | {"fetchwork.fetch_id": str(fetch.id)}
        return attributes if fetch.batch_id is None else attributes | {"fetchwork.batch_id": str(fetch.batch_id)}

    is_alone = len(event.data.fetches) == 1 and fetch.batch_id is None
    links = [current_traceparent()] if is_alone else [event.traceparent, current_traceparent()]
    return begin(
        "fetch.accept",
        kind=SpanKind.CONSUMER,
        traceparent=event.traceparent if is_alone else None,
        is_root=not is_alone or event.traceparent is None,
        links=links,
        describe=describe,
    )


def _record_span(event: Envelope[FetchAttempted]) -> Span:
    attempted = event.data
    return begin(
        "fetch.record",
        kind=SpanKind.CONSUMER,
        traceparent=event.traceparent,
        is_root=event.traceparent is None,
        links=[current_traceparent()],
        describe=lambda: message_attributes(ATTEMPTED_STREAM, "process")
        | {"fetchwork.fetch_id": str(attempted.id), "fetchwork.dispatch_seq": attempted.dispatch_seq},
    )


def _dispatch_span(command: PerformFetch) -> Span:
    def describe() -> Attributes:
        attributes = message_attributes(COMMAND_QUEUE, "create", system="celery")
        attributes |= {"fetchwork.fetch_id": str(command.id), "fetchwork.dispatch_seq": command.dispatch_seq}
        return attributes if command.train is None else attributes | {"fetchwork.train_id": str(command.train.id)}

    return begin(
        "fetch.dispatch",
        kind=SpanKind.PRODUCER,
        traceparent=command.traceparent,
        is_root=command.traceparent is None,
        describe=describe,
    )


def _note_statement(record: Any) -> None:
    """asyncpg's word after a statement, in the context of whoever ran it. Its arguments are never looked at: they are data."""
    ended_at = time.time_ns()
    name = _summary(record.query)
    span = begin(
        name,
        kind=SpanKind.CLIENT,
        start_time=ended_at - int(record.elapsed * 1e9),
        describe=lambda: {"db.system.name": "postgresql", "db.query.summary": name},
    )
    if record.exception is not None and span.is_recording():
        state = getattr(record.exception, "sqlstate", None)
        if state is not None:
            span.set_attribute("db.response.status_code", state)
        fail(span, state or type(record.exception).__name__)
    span.end(ended_at)


def _summary(statement: str) -> str:
    """The statement's name, which its first line has (`store.queries`), or the word that it begins with."""
    first_line = statement.lstrip().partition("\n")[0]
    if first_line.startswith("-- "):
        return first_line.removeprefix("-- ")[:SUMMARY_LIMIT_CHARACTERS]
    return first_line.partition(" ")[0].rstrip(";").upper()[:SUMMARY_LIMIT_CHARACTERS] or "statement"
