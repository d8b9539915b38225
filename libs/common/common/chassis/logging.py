"""Structured logs: one JSON object a line on stdout, with trace ids, and with secrets taken out."""

import logging
import re
import sys
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, WrappedLogger

from common.contracts.keys import KEY_FORM

SECRET_FIELDS = frozenset({"authorization", "cookie", "set-cookie", "x-api-key", "api_key", "token", "password", "secret"})
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_API_KEY = re.compile(KEY_FORM)
_QUERY = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']*")


def configure_logging(*, service: str, level: str) -> None:
    """Route this process's own and its libraries' logs through one JSON renderer. Call once, at start."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _add_service(service),
        _add_trace_ids,
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace secrets by name, API keys, credentials in URLs, and the query part of URLs, in every field that is text."""
    for key, value in event.items():
        if key.lower() in SECRET_FIELDS:
            event[key] = "REDACTED"
        elif isinstance(value, str):
            event[key] = _without_secrets(value)
    return event


def _without_secrets(text: str) -> str:
    if "ftch_" in text:
        text = _API_KEY.sub("REDACTED", text)
    return _QUERY.sub(r"\1?REDACTED", _CREDENTIALS.sub("REDACTED@", text)) if "://" in text else text


def _add_service(service: str) -> Any:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _add_trace_ids(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event
