"""A span for each hop, as OpenTelemetry has them for HTTP clients. It is told to our receiver alone: the origin gets no header.

The span ends when the response's head is there; the body is part of the attempt's.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from urllib.parse import urlsplit

from common.chassis.redaction import redacted_url
from common.chassis.telemetry import Attributes, begin, fail, is_exporting
from opentelemetry.trace import SpanKind

from fetcher.egress.evidence import HopRecord
from fetcher.errors import ExchangeFailed

FIRST_ERROR_STATUS = 400
"""For a client, from here on the answer is an error (semantic conventions for HTTP spans, status)."""


_NO_SPAN = nullcontext()


def hop_span(hop: HopRecord, *, resend_count: int) -> AbstractContextManager[None]:
    """Run the exchange of one hop inside a span, if spans are exported. `resend_count` hops of its attempt came before it."""
    return _span_of(hop, resend_count=resend_count) if is_exporting() else _NO_SPAN


@contextmanager
def _span_of(hop: HopRecord, *, resend_count: int) -> Iterator[None]:
    span = begin(hop.method, kind=SpanKind.CLIENT)
    error_type: str | None = None
    try:
        yield
        if hop.status is not None and hop.status >= FIRST_ERROR_STATUS:
            error_type = str(hop.status)
    except ExchangeFailed as error:
        error_type = error.error.type.value
        raise
    except BaseException as error:
        error_type = type(error).__name__
        raise
    finally:
        if span.is_recording():
            span.set_attributes(_attributes(hop, resend_count=resend_count))
            if error_type is not None:
                fail(span, error_type)
        span.end()


def _attributes(hop: HopRecord, *, resend_count: int) -> Attributes:
    attributes: dict[str, str | int | float | bool] = {
        "http.request.method": hop.method,
        "url.full": redacted_url(hop.url),
        "fetchwork.verdict": hop.verdict.value,
        **_server(hop.url),
    }
    if hop.status is not None:
        attributes["http.response.status_code"] = hop.status
    if hop.peer is not None:
        attributes["network.peer.address"] = hop.peer
    if resend_count:
        attributes["http.request.resend_count"] = resend_count
    return attributes


def _server(url: str) -> Attributes:
    """Nothing for a URL that cannot be read."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if host is None:
        return {}
    return {"server.address": host, "server.port": port or (443 if parts.scheme == "https" else 80)}
