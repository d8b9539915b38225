"""Slowdowns: what a worker remembers of hosts that asked to be left alone, and how workers tell each other, over a real Redis."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from common.clock import utc_now
from common.contracts.fetches import Evidence, Outcome, OutcomeKind, ResponseHead
from common.streams.connection import connect_redis
from common.streams.names import SLOWDOWN_CHANNEL, TRAIN_WORKER_KEY_PREFIX, WORKER_KEY_PREFIX
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from fetcher.announce import announce
from fetcher.metrics import FetcherMetrics
from fetcher.politeness.slowdowns import SLOWDOWN_SECONDS, Slowdown, Slowdowns, read_slowdown
from fetcher.slots import Slots

Until = Callable[..., Awaitable[Any]]
HOST = "example.com"


class Worker:
    """The slowdowns of one process, and their metrics."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now, **limits: int) -> None:
        self.metrics = FetcherMetrics(Slots(1))
        self.slowdowns = Slowdowns(clock=clock, metrics=self.metrics, **limits)

    def count(self, source: str) -> float | None:
        return self.metrics.registry.get_sample_value("fetchwork_slowdowns_total", {"source": source})


@asynccontextmanager
async def _talking(worker: Worker, client: Redis) -> AsyncIterator[Slowdowns]:
    running = asyncio.create_task(worker.slowdowns.run(client))
    yield worker.slowdowns
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


def _asked(*, until: datetime | None = None, status: int = 429, url: str = f"http://{HOST}/a") -> Outcome:
    head = ResponseHead(status=status, final_url=url)
    return Outcome(kind=OutcomeKind.FETCHED, not_before=until, response=head)


def _told(until: datetime, host: str = HOST) -> bytes:
    return Slowdown(host=host, until=until).model_dump_json().encode()


def test_host_is_left_alone_until_it_said(noon: datetime) -> None:
    now = noon
    worker = Worker(clock=lambda: now)
    worker.slowdowns.learn(_asked(until=noon + timedelta(seconds=30)))
    assert worker.slowdowns.until(HOST) == noon + timedelta(seconds=30)
    assert worker.slowdowns.until("www.example.com") is None and worker.slowdowns.until(None) is None
    now = noon + timedelta(seconds=30)
    assert worker.slowdowns.until(HOST) is None and worker.slowdowns.count == 0


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (_asked(status=429), SLOWDOWN_SECONDS),
        (_asked(status=503), SLOWDOWN_SECONDS),
        (_asked(status=200), None),
        (_asked(status=500), None),
        (Outcome(kind=OutcomeKind.FAILED, evidence=Evidence(received=_asked(status=503).response)), SLOWDOWN_SECONDS),
        (Outcome(kind=OutcomeKind.FAILED), None),
    ],
)
def test_what_a_response_without_retry_after_means(outcome: Outcome, seconds: float | None, noon: datetime) -> None:
    slowdown = read_slowdown(outcome, now=noon)
    assert (slowdown.until - noon).total_seconds() == seconds if slowdown else seconds is None


@pytest.mark.parametrize("status", [301, 408, 429, 500, 503])
def test_the_host_that_answered_is_slowed(status: int, noon: datetime) -> None:
    later = noon + timedelta(seconds=9)
    slowdown = read_slowdown(_asked(until=later, status=status, url="http://Other.example:8080/x"), now=noon)
    assert slowdown == Slowdown(host="other.example:8080", until=later)


def test_until_is_clamped_to_a_minute_and_never_shortened(noon: datetime) -> None:
    worker = Worker(clock=lambda: noon)
    worker.slowdowns.hear(_told(noon + timedelta(days=900)))
    assert worker.slowdowns.until(HOST) == noon + timedelta(minutes=1)
    worker.slowdowns.hear(_told(noon + timedelta(seconds=5)))
    worker.slowdowns.hear(_told(noon - timedelta(seconds=5), host="past.example"))
    assert worker.slowdowns.until(HOST) == noon + timedelta(minutes=1)
    assert worker.slowdowns.count == 1 and worker.count("told") == 1


@pytest.mark.parametrize(
    "garbage",
    [
        None, 7, "text", b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"host": ""}', b'{"host": "a.example"}',
        b'{"host": "a.example", "until": "soon"}', b'{"host": "a.example", "until": "2099-01-01T00:00:00"}',
        b'{"host": 1, "until": "2099-01-01T00:00:00Z"}', b'{"host": "a.example", "until": 1e400}',
        json.dumps({"host": "a" * 2000, "until": "2099-01-01T00:00:00Z"}).encode(), b"[" * 1000,
    ],
)  # fmt: skip
def test_garbage_is_ignored(garbage: object) -> None:
    worker = Worker()
    worker.slowdowns.hear(garbage)
    assert worker.slowdowns.count == 0


def test_memory_is_bounded_and_keeps_the_newest(noon: datetime) -> None:
    worker = Worker(clock=lambda: noon, hosts_limit=10)
    for number in range(50):
        worker.slowdowns.hear(_told(noon + timedelta(seconds=60), host=f"h{number}.example"))
    assert worker.slowdowns.count == 10
    assert worker.slowdowns.until("h49.example") and worker.slowdowns.until("h39.example") is None


def test_telling_nobody_is_bounded_too(noon: datetime) -> None:
    worker = Worker(clock=lambda: noon)
    for number in range(3000):
        worker.slowdowns.learn(_asked(url=f"http://h{number}.example/"))
    assert worker.count("own") == 3000


async def test_workers_tell_each_other_and_the_echo_changes_nothing(broker_url: str, broker: Redis, until: Until) -> None:
    one, other, later = Worker(), Worker(), utc_now() + timedelta(seconds=20)
    first, second = (connect_redis(broker_url, timeout_seconds=2) for _ in range(2))
    async with _talking(one, first) as mine, _talking(other, second) as theirs:
        await until(lambda: mine.is_listening and theirs.is_listening)
        await broker.publish(SLOWDOWN_CHANNEL, "garbage")
        mine.learn(_asked(until=later))
        assert mine.until(HOST) == later  # at once
        assert await until(lambda: theirs.until(HOST)) == later
        theirs.learn(_asked(until=later + timedelta(seconds=20)))
        await until(lambda: mine.until(HOST) == later + timedelta(seconds=20))
        mine.learn(_asked(until=later, url="http://last.example/"))  # behind all echoes
        await until(lambda: theirs.until("last.example"))
    assert [(worker.count("own"), worker.count("told")) for worker in (one, other)] == [(2, 1), (1, 2)]
    await first.aclose()
    await second.aclose()


async def test_talk_goes_on_after_an_outage_of_the_broker(until: Until, tmp_path: Path) -> None:
    port, later = free_port(), utc_now() + timedelta(seconds=50)
    server = embedded_redis(tmp_path, is_durable=False, port=port)
    url = server.__enter__()
    one, other = Worker(), Worker()
    first, second = (connect_redis(url, timeout_seconds=2) for _ in range(2))
    async with _talking(one, first) as mine, _talking(other, second) as theirs:
        await until(lambda: mine.is_listening and theirs.is_listening)
        server.__exit__(None, None, None)
        await until(lambda: not (mine.is_listening or theirs.is_listening))
        mine.learn(_asked(until=later))  # which nobody else ever hears, and that is all
        assert mine.until(HOST) == later
        with embedded_redis(tmp_path, is_durable=False, port=port):
            await until(lambda: mine.is_listening and theirs.is_listening, seconds=20)
            mine.learn(_asked(until=later, url="http://again.example/"))
            assert await until(lambda: theirs.until("again.example")) == later
    await first.aclose()
    await second.aclose()


@pytest.fixture
async def as_fetcher(broker_url: str, broker: Redis, repository: Path) -> AsyncIterator[Redis]:
    """The broker as the user that deploy/redis/broker.acl makes for the fetcher."""
    text = (repository / "deploy" / "redis" / "broker.acl").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("user fetcher ")]
    rules = [rule.replace("#@broker_fetcher@", ">secret") for rule in re.findall(r"\([^)]*\)|\S+", line)[2:]]
    await broker.execute_command("ACL", "SETUSER", "fetcher", "reset", *rules)
    client = connect_redis(re.sub(r"//[^@]*@", "//fetcher:secret@", broker_url), timeout_seconds=2)
    yield client
    await client.aclose()
    await broker.execute_command("ACL", "DELUSER", "fetcher")


async def test_fetchers_user_may_do_all_this_and_no_more(as_fetcher: Redis, broker: Redis, until: Until) -> None:
    worker, stopping, later = Worker(), asyncio.Event(), utc_now() + timedelta(seconds=50)
    announcing = asyncio.create_task(announce(as_fetcher, worker="w-1", slots=3, stopping=stopping))
    keys = [f"{prefix}w-1" for prefix in (WORKER_KEY_PREFIX, TRAIN_WORKER_KEY_PREFIX)]
    await until(lambda: broker.exists(*keys))
    heard = broker.pubsub(ignore_subscribe_messages=True)
    await heard.subscribe(SLOWDOWN_CHANNEL)
    async with _talking(worker, as_fetcher) as slowdowns:
        await until(lambda: slowdowns.is_listening)
        await until(lambda: broker.publish(SLOWDOWN_CHANNEL, _told(later)))
        await until(lambda: slowdowns.until(HOST) == later)
        slowdowns.learn(_asked(until=later, url="http://mine.example/"))
        await until(lambda: _hears(heard, b"mine.example"))
    stopping.set()
    await announcing
    assert await broker.exists(*keys) == 0
    for denied in (("PUBLISH", "another", "x"), ("GET", keys[1]), ("SET", "fetchwork:v1:broker-marker", "1"), ("KEYS", "*")):
        with pytest.raises(NoPermissionError):
            await as_fetcher.execute_command(*denied)
    await heard.aclose()  # type: ignore[no-untyped-call]


async def _hears(subscription: Any, text: bytes) -> bool:
    message = await subscription.get_message(timeout=0.1)
    return message is not None and text in message["data"]
