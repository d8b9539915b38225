"""Structured logs: one JSON object a line on stdout, with trace ids, and with secrets taken out."""

import json
import logging
import sys
import threading
from types import TracebackType
from typing import Any, BinaryIO, cast

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from common.chassis.build import VERSION
from common.chassis.redaction import are_harmless, redacted
from common.chassis.telemetry import SPAN_ID, TRACE_FLAGS, TRACE_ID, current_traceparent

log = structlog.get_logger()


def configure_logging(*, service: str, level: str, instance: str | None = None) -> None:
    """Route this process's own and its libraries' logs, warnings and last words through one JSON renderer. Call once, at start.

    Every line has `timestamp` (RFC 3339, UTC), `level`, `event`, `service`, `version`, `instance` if there is one, and inside a
    span `trace_id`, `span_id` and `trace_flags` (OpenTelemetry, trace context in non-OTLP log formats).
    """
    origin = {"service": service, "version": VERSION} | ({"instance": instance} if instance is not None else {})
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _adder(origin),
        _add_trace_ids,
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_write)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, _Unbroken(sys.stdout.buffer))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_write_text),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_end
    threading.excepthook = lambda ended: _log_end(ended.exc_type, ended.exc_value, ended.exc_traceback)


class _Unbroken:
    """A stream whose reader may be gone, as the supervisor's pipe is once that was killed: no request fails for its log line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, text: bytes) -> None:
        try:
            self._stream.write(text)
        except OSError:
            pass

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            pass


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace secrets by name, API keys, credentials in URLs, and the query part of URLs, in every field at any depth."""
    if are_harmless(event):
        return event
    for key, value in event.items():
        if not key.startswith("_"):  # structlog's own, which is no text and does not get out
            event[key] = redacted(key, value)
    return event


def _write(event: EventDict, **options: Any) -> bytes:
    """As JSON. What no UTF-8 can hold, such as half of a surrogate pair, is escaped by the slower writer."""
    try:
        return orjson.dumps(event, **options)
    except TypeError:
        return json.dumps(event, **options).encode()


def _write_text(event: EventDict, **options: Any) -> str:
    return _write(event, **options).decode()


def _adder(origin: dict[str, str]) -> Any:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.update(origin)
        return event

    return add


def _add_trace_ids(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    traceparent = current_traceparent()
    if traceparent is not None:
        event["trace_id"] = traceparent[TRACE_ID]
        event["span_id"] = traceparent[SPAN_ID]
        event["trace_flags"] = traceparent[TRACE_FLAGS]
    return event


def _log_end(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    """What nobody caught: Python would write it to stderr, as it is, secrets included."""
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    log.critical("uncaught exception", error=kind.__name__, exc_info=(kind, error, traceback))
