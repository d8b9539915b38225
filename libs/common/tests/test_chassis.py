"""The chassis: settings that refuse to be guessed, logs that keep secrets, loops that go on, health that never lies."""

import asyncio
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from threading import Event
from time import monotonic

import httpx2
import pytest
import structlog
from common.chassis.build import VERSION
from common.chassis.health import Soft, Unhealthy, run_checks
from common.chassis.lifecycle import Pass, end_task, rest_unless, run_loop
from common.chassis.logging import configure_logging
from common.chassis.operations_port import OperationsPort
from common.chassis.phase import Phase
from common.chassis.redaction import are_harmless, redacted, redacted_url
from common.chassis.telemetry import Tracing, configure_tracing, current_trace_id, current_traceparent, span
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

KEY = f"ftch_live_{'A' * 12}_{'x' * 49}"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_planted_secrets_do_not_reach_the_log() -> None:
    output = io.TextIOWrapper(kept := io.BytesIO())
    with redirect_stdout(output):
        configure_logging(service="test", level="info", instance="seven")
        structlog.get_logger().info(
            "fetching",
            url="https://user:planted-1@a.test/path?token=planted-2",
            database_url="postgresql://u:planted-3@db/x",
            Authorization="Bearer planted-4",
            store_token="fine",  # noqa: S106
            token="planted-5",  # noqa: S106
            note="went to https://a.test/x?key=planted-6 and back",
            headers={"Cookie": "planted-8", "x": ["https://b:planted-9@b.test/?planted-10"]},
            reason=f"path /v1/fetches/ftch_live_{'A' * 12}_planted-7{'x' * 34}000000 is none",
        )
    structlog.reset_defaults()
    line = kept.getvalue().decode()
    assert "planted" not in line
    entry = json.loads(line)
    assert entry["event"] == "fetching" and entry["service"] == "test" and entry["level"] == "info"
    assert (entry["version"], entry["instance"]) == (VERSION, "seven") and entry["timestamp"].endswith("Z")
    assert entry["headers"] == {"Cookie": "REDACTED", "x": ["https://REDACTED@b.test/?REDACTED"]}
    assert entry["url"].startswith("https://REDACTED@a.test/path?")
    assert entry["reason"] == "path /v1/fetches/REDACTED is none"


def test_a_line_is_written_whatever_it_holds() -> None:
    output = io.TextIOWrapper(kept := io.BytesIO())
    with redirect_stdout(output):
        configure_logging(service="test", level="info")
        structlog.get_logger().info("odd", half="\ud800", large=2**70, kind=SpanKind.SERVER, at=datetime(2026, 1, 1, tzinfo=UTC))
    structlog.reset_defaults()
    entry = json.loads(kept.getvalue().decode())
    assert (entry["half"], entry["large"], entry["event"]) == ("\ud800", 2**70, "odd")


UNREAD_PROGRAM = """
import sys
import structlog
from common.chassis.logging import configure_logging
configure_logging(service="test", level="info")
sys.stdin.read()
for number in range(2000):
    structlog.get_logger().info("a line", padding="x" * 100)
sys.stderr.write("went on")
sys.stderr.flush()
import os
os._exit(0)
"""


def test_a_log_that_nobody_reads_any_more_ends_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNREAD_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "went on"
        assert process.wait(30) == 0


UNCAUGHT_PROGRAM = """
import threading, warnings
from common.chassis.logging import configure_logging
configure_logging(service="test", level="info")
warnings.warn("warned")
def fail(): raise OSError("cannot reach redis://user:planted-1@db")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_what_nobody_caught_is_json_too_and_keeps_secrets() -> None:
    ended = subprocess.run([sys.executable, "-c", UNCAUGHT_PROGRAM], capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 1 and ended.stderr == "" and "planted" not in ended.stdout
    events = [json.loads(line)["event"] for line in ended.stdout.splitlines()]
    assert "warned" in events[0] and events[1:] == ["uncaught exception"] * 2


def test_a_receiver_that_hangs_holds_up_the_end_for_a_moment_only() -> None:
    hanging, provider = Event(), TracerProvider(shutdown_on_exit=False)

    class Hanging(SpanProcessor):
        def shutdown(self) -> None:
            hanging.wait(30)

    provider.add_span_processor(Hanging())
    begun = monotonic()
    Tracing(provider).shutdown(timeout_seconds=0.05)
    assert monotonic() - begun < 5
    hanging.set()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.test/path", "https://a.test/path"),
        ("https://u:p@ss@a.test:8/path?k=v#f", "https://a.test:8/path?REDACTED"),
        ("http://[::1]:8/?", "http://[::1]:8/"),
        ("http://[broken/?k=v", "REDACTED"),
        (f"https://a.test/{KEY}", "https://a.test/REDACTED"),
    ],
)
def test_a_url_is_shown_without_credentials_query_and_fragment(url: str, shown: str) -> None:
    assert redacted_url(url) == shown


def test_an_exception_makes_a_span_an_error_and_is_not_quoted() -> None:
    configure_tracing(service="test", version="0", instance="0")
    with pytest.raises(OSError), span("failing", kind=SpanKind.INTERNAL) as failing:
        raise OSError("https://a.test/?secret")
    told = failing.to_json()
    assert "secret" not in told and '"error.type": "OSError"' in told and '"ERROR"' in told


def test_a_trace_goes_on_under_its_parent() -> None:
    configure_tracing(service="test", version="0", instance="0")
    assert current_traceparent() is None and current_trace_id() is None
    with span("outer", kind=SpanKind.SERVER, traceparent=TRACEPARENT):
        assert current_trace_id() == TRACEPARENT.split("-")[1]
        carried = current_traceparent()
        with span("inner", kind=SpanKind.INTERNAL):
            assert current_trace_id() == TRACEPARENT.split("-")[1]
            assert current_traceparent() != carried
    with span("new", kind=SpanKind.SERVER, traceparent="not a traceparent"):
        assert current_trace_id() not in (None, TRACEPARENT.split("-")[1])


SETTINGS_PROGRAM = """
from common.chassis.settings import ServiceSettings, load_settings
class Own(ServiceSettings):
    def faults(self): return ["FETCHWORK_A contradicts FETCHWORK_B"] if self.metrics_port == 1 else []
print(load_settings(Own).instance)
"""


def _load(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SETTINGS_PROGRAM]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)


def test_settings_name_every_fault_and_stop_with_two() -> None:
    nothing = _load()
    assert nothing.returncode == 2
    for name in ("FETCHWORK_METRICS_PORT", "FETCHWORK_EVENTS_URL", "FETCHWORK_STORE_TOKEN"):
        assert name in nothing.stderr
    complete = {"FETCHWORK_METRICS_PORT": "0", "FETCHWORK_EVENTS_URL": "redis://x", "FETCHWORK_STORE_TOKEN": "0123456789abcdef"}
    assert _load(**complete, FETCHWORK_INSTANCE="seven").stdout == "seven\n"
    short = _load(**complete | {"FETCHWORK_STORE_TOKEN": "tiny-secret"})
    assert short.returncode == 2 and "tiny-secret" not in short.stderr
    contradiction = _load(**complete | {"FETCHWORK_METRICS_PORT": "1"})
    assert contradiction.returncode == 2 and "contradicts" in contradiction.stderr


class Stumbling:
    """A loop that fails twice, then works twice, then asks to stop."""

    name = "stumbling"

    def __init__(self, stopping: asyncio.Event) -> None:
        self.passes = 0
        self._stopping = stopping

    async def run_once(self) -> float:
        """Fail at first."""
        self.passes += 1
        if self.passes <= 2:
            raise ValueError("not yet")
        if self.passes == 4:
            self._stopping.set()
        return 0


async def test_a_loop_survives_its_failures() -> None:
    stopping, passes = asyncio.Event(), list[Pass]()
    loop = Stumbling(stopping)
    async with asyncio.timeout(10):
        await run_loop(loop, stopping, on_pass=passes.append)
    assert loop.passes == 4
    assert [(done.loop, done.is_ok) for done in passes] == [("stumbling", False)] * 2 + [("stumbling", True)] * 2


async def test_a_rest_ends_early_when_there_is_a_reason() -> None:
    event = asyncio.Event()
    event.set()
    async with asyncio.timeout(5):
        assert await rest_unless(event, 3600)
    assert not await rest_unless(asyncio.Event(), 0.01)


async def test_a_check_that_fails_or_hangs_is_told_and_the_others_still_run() -> None:
    async def fine() -> None:
        return

    async def broken() -> None:
        raise ConnectionError("10.0.0.7 refused, password planted")

    report = await run_checks({"fine": fine, "broken": broken})
    assert not report.is_healthy
    assert report.lines() == "[+]fine ok\n[-]broken failed: ConnectionError: cannot connect\nunhealthy\n"


async def test_a_reason_is_of_the_innermost_failure_and_never_in_its_own_words() -> None:
    async def wrapped() -> None:
        try:
            raise ConnectionRefusedError("redis://user:planted@10.0.0.7:6379")
        except OSError as error:
            raise RuntimeError("planted") from error

    async def strange() -> None:
        raise LookupError("planted")

    async def told() -> None:
        raise Unhealthy("version 5, needs 6")

    report = await run_checks({"redis": wrapped, "strange": strange, "schema": told})
    assert report.results == {
        "redis": "ConnectionRefusedError: cannot connect", "strange": "LookupError", "schema": "version 5, needs 6"
    }


async def test_a_soft_check_degrades_and_one_that_is_needed_once_fails_until_then() -> None:
    is_there = False

    async def store() -> None:
        if not is_there:
            raise Unhealthy("away")

    checks = {"soft": Soft(store), "once": Soft(store, is_needed_once=True)}
    report = await run_checks(checks)
    assert report.lines() == "[!]soft degraded: away\n[-]once failed: away\nunhealthy\n"
    is_there = True
    assert (await run_checks(checks)).lines() == "[+]soft ok\n[+]once ok\nhealthy\n"
    is_there = False
    report = await run_checks(checks)
    assert report.is_healthy and report.lines() == "[!]soft degraded: away\n[!]once degraded: away\nhealthy\n"


async def test_the_operations_port_serves_metrics_and_health() -> None:
    registry, is_well, is_alive, phase = CollectorRegistry(), True, True, Phase()
    Counter("things", "Things.", registry=registry).inc()

    async def check() -> None:
        if not is_well:
            raise ConnectionError

    async def live() -> None:
        if not is_alive:
            raise Unhealthy("stands still")

    port = OperationsPort(
        bind="127.0.0.1",
        port=0,
        registry=registry,
        checks={"wire": check},
        liveness={"worker": live},
        phase=phase,
        loop=asyncio.get_running_loop(),
    )
    port.start()
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port.port}") as client:
        assert "things_total 1.0" in (await client.get("/metrics")).text
        assert (await client.get("/livez")).status_code == 200
        starting = await client.get("/startupz")
        assert (starting.status_code, starting.text) == (503, "[-]startup failed: starting\nunhealthy\n")
        assert (await client.get("/readyz")).status_code == 503
        phase.begin_serving()
        assert (await client.get("/startupz")).status_code == 200
        assert (await client.get("/readyz?verbose")).text == "[+]wire ok\n[+]startup ok\n[+]draining ok\nhealthy\n"
        is_well = False
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        is_well = True
        phase.begin_drain()
        draining = await client.get("/readyz")
        assert draining.status_code == 503 and "[-]draining failed: stopping" in draining.text
        assert [(await client.get(path)).status_code for path in ("/livez", "/startupz")] == [200, 200]
        is_alive = False
        assert "[-]worker failed: stands still" in (await client.get("/livez")).text
        assert (await client.get("/else")).status_code == 404
    await asyncio.to_thread(port.close)


def test_a_process_may_open_as_many_files_as_its_hard_limit_says() -> None:
    program = (
        "import resource as r; from common.chassis.open_files import raise_open_files_limit as f\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, r.getrlimit(r.RLIMIT_NOFILE)[1])); f()\n"
        "soft, hard = r.getrlimit(r.RLIMIT_NOFILE); print(soft == hard, soft > 256)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("value", ["plain", "http://u:p@h.test/", KEY, f"x {KEY}", 1, None, True, 0.5, ["http://h.test/?q=1"]])
@pytest.mark.parametrize("name", ["host", "Token", "authorization"])
def test_what_looks_harmless_has_nothing_to_take_out(name: str, value: object) -> None:
    for fields in ({name: value}, {"host": "plain", name: value, "status": 200}):
        assert are_harmless(fields) <= (redacted(name, value) == value)
    assert are_harmless({"host": "plain", "status": 200, "error": None})


async def test_a_task_has_ended_when_end_task_returns() -> None:
    steps = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # as a connection takes to close
            steps.append("closed")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await end_task(task)
    assert task.cancelled() and steps == ["closed"]


async def test_a_task_that_will_not_end_is_left_after_its_time_and_named() -> None:
    may_end = asyncio.Event()

    async def refuse() -> None:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    task = asyncio.create_task(refuse(), name="stubborn")
    await asyncio.sleep(0)
    with capture_logs() as lines:
        await end_task(task, timeout_seconds=0.05)
    assert [(line["event"], line["task"]) for line in lines] == [("task not ended", "stubborn")]
    may_end.set()
    await task
