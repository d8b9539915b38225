"""Traces: one W3C trace context (`traceparent`) carried through HTTP, streams and Celery.

Spans always have ids, so that a trace id can be shown and logged; they are exported only when
OTEL_EXPORTER_OTLP_ENDPOINT is set. The context is never sent to origins.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes = Mapping[str, str | int | float | bool]

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("fetchwork")  # a proxy until `configure_tracing` installs the real one


def configure_tracing(*, service: str, version: str, instance: str) -> TracerProvider:
    """Install the process's tracer. Call once, at start; call `shutdown()` on what it returns to flush at the end."""
    resource = Resource.create({"service.name": service, "service.version": version, "service.instance.id": instance})
    provider = TracerProvider(resource=resource)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


@contextmanager
def span(name: str, *, kind: SpanKind, traceparent: str | None = None, attributes: Attributes | None = None) -> Iterator[Span]:
    """Run a block inside a span whose parent is `traceparent`, or the current span when that is None."""
    parent = _extract(traceparent) if traceparent else None
    with _tracer.start_as_current_span(name, context=parent, kind=kind, attributes=dict(attributes or {})) as current:
        yield current


def current_traceparent() -> str | None:
    """The `traceparent` header value (W3C Trace Context section 3.2) of the current span, or None outside any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def current_trace_id() -> str | None:
    """The current trace id as 32 hexadecimal digits, or None outside any span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def _extract(traceparent: str) -> Context:
    return _propagator.extract({"traceparent": traceparent})
