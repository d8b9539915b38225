"""A receiver of traces as a collector is one: OTLP over HTTP, in protobuf, on the loopback. And one that never answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

LOOPBACK = "127.0.0.1"
NO_PARENT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """One span, with the resource that it is of. `links` are pairs of trace id and span id."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    started_ns: int
    ended_ns: int
    is_error: bool

    @property
    def service(self) -> str:
        """Whose it is."""
        return str(self.resource["service.name"])


@dataclass(slots=True)
class Receiver:
    """What has arrived. `raw` is every request's body, in which a test may look for what must not be there."""

    url: str
    raw: list[bytes] = field(default_factory=list)
    spans: list[ReceivedSpan] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        """All spans of one trace, the oldest first."""
        return sorted((span for span in list(self.spans) if span.trace_id == trace_id), key=lambda span: span.started_ns)

    def of_fetch(self, fetch_id: str, name: str) -> list[ReceivedSpan]:
        """The spans of that name that say they are about this fetch."""
        return [
            span for span in list(self.spans) if span.name == name and span.attributes.get("fetchwork.fetch_id") == fetch_id
        ]

    def take(self, body: bytes) -> None:
        """Read one request."""
        self.raw.append(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(of_resource.resource.attributes)
            self.spans += [_read(span, resource) for scope in of_resource.scope_spans for span in scope.spans]


@contextmanager
def serve_receiver() -> Iterator[Receiver]:
    """A receiver on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_ours = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
            if is_ours:
                receiver.take(body)
            self.send_response(200 if is_ours else 400)
            self.send_header("Content-Type", "application/x-protobuf")
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://{LOOPBACK}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@contextmanager
def silent_receiver() -> Iterator[str]:
    """Where connections are accepted and nothing is ever answered."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"


@contextmanager
def absent_receiver() -> Iterator[str]:
    """Where nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        port = listening.getsockname()[1]
    yield f"http://{LOOPBACK}:{port}"


def _read(span: SpanMessage, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_values(span.attributes),
        resource=resource,
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        is_error=span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
