"""On the engines that are deployed: the Postgres and Redis of the Test stage, and the worker that it runs in the background.

The rest of the suite brings embedded servers of other versions. Here the servers and the worker are whoever the variables
FETCHWORK_TEST_DATABASE_URL, FETCHWORK_TEST_EVENTS_URL and FETCHWORK_TEST_BROKER_URL name. Without them these tests are skipped;
on GitHub that is a failure.
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import zstandard
from celery import Celery
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchAttempted, FetchRequest, PerformFetch, PerformFetches
from common.ids import new_fetch_id
from common.streams.connection import connect_redis
from common.streams.names import ATTEMPTED_STREAM, COMMAND_QUEUE, WORKER_KEY_PREFIX
from store.migrate import migrate

OUTCOME_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.1
BODY = b"hello from the test's own origin"


def _named(variable: str) -> str:
    url = os.environ.get(variable, "")
    if not url and os.environ.get("GITHUB_ACTIONS"):
        pytest.fail(f"{variable} is not set, although the Test stage starts the servers")
    if not url:
        pytest.skip(f"{variable} is not set: only the Test stage on GitHub has these servers")
    return url


class Origin(BaseHTTPRequestHandler):
    """Answers every GET with the same few bytes."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[str]:
    """An origin on loopback, in a thread: the worker is another process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join(timeout=5)


async def test_schema_can_be_made_twice_on_the_deployed_postgres() -> None:
    url, name = _named("FETCHWORK_TEST_DATABASE_URL"), f"pipeline_{uuid4().hex}"
    server = await asyncpg.connect(url, timeout=10)
    try:
        await server.execute(f"CREATE DATABASE {name}")
        own = f"{url.rsplit('/', 1)[0]}/{name}"
        assert await migrate(own)
        assert not await migrate(own)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


async def test_background_worker_takes_a_command_and_publishes_its_outcome(origin: str) -> None:
    events_url, broker_url = _named("FETCHWORK_TEST_EVENTS_URL"), _named("FETCHWORK_TEST_BROKER_URL")
    async with connect_redis(broker_url) as broker:
        assert await broker.keys(f"{WORKER_KEY_PREFIX}*"), "no worker runs; start one with: make worker-start"
    command = _command(origin)
    await asyncio.to_thread(_send, broker_url, command)
    attempted, body = await asyncio.wait_for(_outcome(events_url, command), OUTCOME_TIMEOUT_SECONDS)
    assert attempted.outcome.response is not None and attempted.outcome.response.status == 200
    assert zstandard.decompress(body) == BODY


def _command(url: str) -> PerformFetch:
    lease_ends_at = utc_now() + timedelta(seconds=60)
    return PerformFetch(id=new_fetch_id(), dispatch_seq=1, lease_ends_at=lease_ends_at, request=FetchRequest(url=url))


def _send(broker_url: str, command: PerformFetch) -> None:
    batch = PerformFetches(fetches=(command,))
    envelope = Envelope[PerformFetches].wrap(
        batch, type=FETCH_PERFORM, source="test", subject="batch", now=utc_now(), traceparent=None
    )
    with Celery(broker=broker_url, set_as_current=False) as app:
        app.send_task(FETCH_PERFORM, args=[envelope.model_dump_json()], queue=COMMAND_QUEUE, ignore_result=True)


async def _outcome(events_url: str, command: PerformFetch) -> tuple[FetchAttempted, bytes]:
    async with connect_redis(events_url) as events:
        while True:
            entries: Any = await events.xrange(ATTEMPTED_STREAM)
            for _, fields in entries:
                attempted = Envelope[FetchAttempted].model_validate_json(fields[b"event"]).data
                if attempted.id == command.id:
                    return attempted, fields[b"body"]
            await asyncio.sleep(POLL_SECONDS)
