"""Traces: one W3C trace context (`traceparent`) carried through HTTP, streams and Celery.

A request and an attempt always have a span, so that their trace id can be shown and logged. All others, and all attributes, are
made only when spans are exported: when OTEL_EXPORTER_OTLP_ENDPOINT is set. The context is never sent to origins, and what an
exception says never gets into a span: it may quote a URL.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from threading import Thread

import structlog
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_TRACE_ID,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from common.chassis.redaction import REDACTED, without_secrets

NAMESPACE = "fetchwork"
SHUTDOWN_SECONDS = 3.0
"""How long the end of a process waits for its last spans to leave."""

AS_TYPED = frozenset({"url.path", "url.query", "http.request.method_original"})
"""Attributes of FastAPI's spans that are told to nobody."""

Attributes = Mapping[str, str | int | float | bool]
Describe = Callable[[], Attributes]
"""Says what a span is about; asked only when somebody will read it."""

log = structlog.get_logger()

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("fetchwork")  # a proxy until `configure_tracing` installs the real one
_ids = RandomIdGenerator()
_is_exporting = False
_NO_STEP = nullcontext(INVALID_SPAN)
TRACE_ID, SPAN_ID, TRACE_FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)
"""Where they are in a `traceparent` as we write it."""
_OWN_FORM = re.compile("00-([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
"""Version 00 (W3C Trace Context section 3.2.2), but for the trace id of zeros alone, which is none."""


class Tracing:
    """The process's tracer, from its start to its end."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def shutdown(self, *, timeout_seconds: float = SHUTDOWN_SECONDS) -> None:
        """Export what is left, for so long at most. The SDK would wait for half a minute for a receiver that hangs."""
        flushing = Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        flushing.start()
        flushing.join(timeout_seconds)
        if flushing.is_alive():
            log.warning("last spans not exported", waited_seconds=timeout_seconds)


def configure_tracing(*, service: str, version: str, instance: str) -> Tracing:
    """Install the process's tracer. Call once, at start.

    Sampling, the queue of spans, and time limits of the export are the SDK's, and set by its OTEL_ variables.
    """
    global _is_exporting
    resource = Resource.create(
        {
            "service.namespace": NAMESPACE,
            "service.name": service,
            "service.version": version,
            "service.instance.id": instance,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _is_exporting = bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if _is_exporting:
        provider.add_span_processor(_Redaction())
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return Tracing(provider)


def is_exporting() -> bool:
    """Whether spans leave this process: whether it is worth while to say what they are about."""
    return _is_exporting


@contextmanager
def span(name: str, *, kind: SpanKind, traceparent: str | None = None, describe: Describe | None = None) -> Iterator[Span]:
    """Run a block inside a span whose parent is `traceparent`, or the current span when that is None. There always is one.

    An exception that leaves the block makes it an error, named by its class and by nothing else.
    """
    begun = begin(name, kind=kind, traceparent=traceparent, describe=describe)
    if not begun.is_recording():  # nobody is told how it ends
        token = attach(trace.set_span_in_context(begun))
        try:
            yield begun
        finally:
            detach(token)
        return
    with _current(begun) as current:
        yield current


def step(
    name: str,
    *,
    kind: SpanKind,
    traceparent: str | None = None,
    links: Iterable[str | None] = (),
    describe: Describe | None = None,
) -> AbstractContextManager[Span]:
    """As `span`, with links to other traces, but only when spans are exported; else there is none, and what it costs neither."""
    if not _is_exporting:
        return _NO_STEP
    return _current(begin(name, kind=kind, traceparent=traceparent, links=links, describe=describe))


def begin(
    name: str,
    *,
    kind: SpanKind,
    traceparent: str | None = None,
    is_root: bool = False,
    links: Iterable[str | None] = (),
    describe: Describe | None = None,
    start_time: int | None = None,
) -> Span:
    """A span that does not become the current one; whoever asks for it ends it. With `is_root` it has no parent.

    `start_time` is in nanoseconds since the epoch; None is now.
    """
    if traceparent and not is_root and not _is_exporting:
        return _unrecorded(traceparent)
    parent = Context() if is_root else _extract(traceparent) if traceparent else None
    begun = _tracer.start_span(name, context=parent, kind=kind, links=_links(links), start_time=start_time)
    if describe is not None and _is_exporting and begun.is_recording():
        begun.set_attributes(describe())
    return begun


def fail(failed: Span, error_type: str) -> None:
    """Mark a span as one that did not do what it was for; `error_type` is of a small set (semantic conventions, `error.type`)."""
    failed.set_attribute("error.type", error_type)
    failed.set_status(StatusCode.ERROR)


def message_attributes(destination: str, operation: str, *, system: str = "redis") -> dict[str, str | int | float | bool]:
    """What is common to spans about messages (semantic conventions for messaging); `operation` is create, send or process."""
    return {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def traceparent_of(carried: Span) -> str | None:
    """The `traceparent` header value (W3C Trace Context section 3.2) of a span, or None when it is none."""
    if isinstance(carried, _Unrecorded):
        return carried.traceparent
    context = carried.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    """The `traceparent` of the current span, or None outside any."""
    return traceparent_of(trace.get_current_span())


def trace_headers() -> dict[str, str]:
    """The headers that carry the current trace to another service of ours; none outside any span. Never for an origin."""
    traceparent = current_traceparent()
    return {"traceparent": traceparent} if traceparent else {}


def current_trace_id() -> str | None:
    """The current trace id as 32 hexadecimal digits, or None outside any span."""
    traceparent = current_traceparent()
    return traceparent[TRACE_ID] if traceparent else None


class _Redaction(SpanProcessor):
    """FastAPI's span has the path and the query as they came: whatever strangers type, a key by mistake included.

    `http.route` says what was asked for.
    """

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        for name, value in (span.attributes or {}).items():
            if name in AS_TYPED:
                span.set_attribute(name, REDACTED)
            elif isinstance(value, str) and (safe := without_secrets(value)) != value:
                span.set_attribute(name, safe)


@contextmanager
def _current(begun: Span) -> Iterator[Span]:
    with trace.use_span(begun, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield begun
        except BaseException as error:
            fail(begun, type(error).__name__)
            raise


class _Unrecorded(NonRecordingSpan):
    """A span that only carries its ids on, as text: what the SDK would make costs ten times as much, and nobody reads it."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def get_span_context(self) -> SpanContext:
        _, trace_id, span_id, flags = self.traceparent.split("-")
        return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(int(flags, 16)))


def _unrecorded(traceparent: str) -> Span:
    """A new span of that trace. A `traceparent` as we write it is read here; any other the SDK reads."""
    own = _OWN_FORM.fullmatch(traceparent)
    if own is not None:
        trace_id, flags = own.groups()
        return _Unrecorded(f"00-{trace_id}-{_ids.generate_span_id():016x}-{flags}")
    parent = trace.get_current_span(_extract(traceparent)).get_span_context()
    if parent.trace_id == INVALID_TRACE_ID:
        return _tracer.start_span("unrecorded", context=Context())
    return _Unrecorded(f"00-{parent.trace_id:032x}-{_ids.generate_span_id():016x}-{parent.trace_flags:02x}")


@lru_cache(maxsize=256)
def _extract(traceparent: str) -> Context:
    return _propagator.extract({"traceparent": traceparent}, context=Context())


def _links(traceparents: Iterable[str | None]) -> list[Link]:
    contexts = [
        trace.get_current_span(_extract(traceparent)).get_span_context() for traceparent in traceparents if traceparent
    ]
    return [Link(context) for context in contexts if context.is_valid]
