"""The port for operators: /metrics, /livez, /readyz and /startupz, in a thread of its own, apart from any public port."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from common.chassis.health import CHECK_TIMEOUT_SECONDS, Check, HealthReport, run_checks
from common.chassis.lifecycle import end_task
from common.chassis.phase import Phase, readiness
from common.chassis.watcher import Watcher

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
TICK_TIMEOUT_SECONDS = 5.0
"""A process whose event loop does not answer for this long is not alive."""


class OperationsPort:
    """Serves metrics and health of a process whose work runs on `loop`. Binds at construction; `port` is the real one.

    `checks` say whether the process can serve, `liveness` whether only a restart helps it.
    """

    def __init__(
        self,
        *,
        bind: str,
        port: int,
        registry: CollectorRegistry,
        checks: Mapping[str, Check],
        phase: Phase,
        loop: asyncio.AbstractEventLoop,
        liveness: Mapping[str, Check] | None = None,
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._reports: dict[str, Mapping[str, Check]] = {
            "/livez": liveness or {},
            "/readyz": readiness(checks, phase),
            "/startupz": {"startup": phase.check_started},
        }
        self._loop = loop
        self._server = make_server(bind, port, self._answer, server_class=_ThreadingServer, handler_class=_SilentHandler)
        self._thread = Thread(target=self._server.serve_forever, name="operations-port", daemon=True)
        self.port = int(self._server.server_port)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=CHECK_TIMEOUT_SECONDS)

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        if path in self._reports:
            return _report(environ, start_response, self._on_loop(self._reports[path]))
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Here are /metrics, /livez, /readyz and /startupz.\n"]

    def _on_loop(self, checks: Mapping[str, Check]) -> HealthReport:
        future = asyncio.run_coroutine_threadsafe(run_checks(checks), self._loop)
        try:
            return future.result(timeout=TICK_TIMEOUT_SECONDS)
        except TimeoutError:
            return HealthReport(results={"event_loop": f"no tick in {TICK_TIMEOUT_SECONDS:g} s"})


@asynccontextmanager
async def serve_operations(
    *, bind: str, port: int, registry: CollectorRegistry, checks: Mapping[str, Check], phase: Phase, watcher: Watcher
) -> AsyncIterator[OperationsPort]:
    """An open operations port for work that runs on the current loop, with its watcher; closed at the end."""
    operations = OperationsPort(
        bind=bind, port=port, registry=registry, checks=checks, phase=phase, loop=asyncio.get_running_loop()
    )
    operations.start()
    watching = asyncio.create_task(watcher.run(), name="watcher")
    try:
        yield operations
    finally:
        await end_task(watching)
        await asyncio.to_thread(operations.close)


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: scrapes are not events."""


def _report(environ: dict[str, Any], start_response: StartResponse, report: HealthReport) -> Iterable[bytes]:
    start_response("200 OK" if report.is_healthy else "503 Service Unavailable", [("Content-Type", "text/plain")])
    is_verbose = "verbose" in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return [(report.lines() if is_verbose or not report.is_healthy else "ok\n").encode()]
