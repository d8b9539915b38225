"""Hand outcomes to the store: a large body first, to its content endpoint, then the event, on the stream.

Outcomes that are ready together leave together, and none waits for company. What cannot be delivered is tried again until
its lease ends; from then on another worker may have the fetch, and the outcome is given up, visibly.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import structlog
from common.chassis.health import Unhealthy
from common.chassis.telemetry import trace_headers
from common.clock import Clock
from common.contracts.fetches import BodyReference
from common.streams.appender import Appender
from common.streams.names import ATTEMPTED_STREAM
from common.streams.publisher import Publication, publish
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fetcher.metrics import FetcherMetrics

PUBLISH_LIMIT = 100
PUBLISH_LIMIT_BYTES = 4 * 1024 * 1024
QUEUE_LIMIT = 4096
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_LIMIT_SECONDS = 2.0
CONTENT_TIMEOUT_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """Where large bodies go, and the secret that opens the door."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    publication: Publication
    until: datetime
    done: asyncio.Future[bool]


class Reporter:
    """Publishes outcomes, coalesced. `run()` is its one loop; `report()` may be called by any number of tasks."""

    def __init__(
        self, events: Redis, *, store: StoreAddress, session: aiohttp.ClientSession, metrics: FetcherMetrics, clock: Clock
    ) -> None:
        self._appender = Appender(events, ATTEMPTED_STREAM)
        self._store = store
        self._session = session
        self._metrics = metrics
        self._clock = clock
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(QUEUE_LIMIT)

    def report(self, publication: Publication, *, reference: BodyReference | None, until: datetime) -> asyncio.Future[bool]:
        """Begin to publish an outcome. It is on the stream when the future is done, unless that says False: `until` came first.

        The future never fails. Most need no task of their own: they stand in the queue when this returns.
        """
        if self._queue.full() or not (reference is None or reference.is_inline):
            return asyncio.ensure_future(self._report_later(publication, reference=reference, until=until))
        waiting = _Waiting(publication, until, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return waiting.done

    async def check_store(self) -> None:
        """Raise unless the store answers at all; without it large bodies wait, and robots.txt comes from each origin anew."""
        async with self._session.get(self._store.url, allow_redirects=False) as response:
            if response.status >= 500:
                raise Unhealthy("does not serve")

    async def run(self) -> None:
        """Publish what is ready, up to PUBLISH_LIMIT at once, for ever."""
        while True:
            batch = [await self._queue.get()]
            size_bytes = _size(batch[0])
            while len(batch) < PUBLISH_LIMIT and size_bytes < PUBLISH_LIMIT_BYTES and not self._queue.empty():
                batch.append(self._queue.get_nowait())
                size_bytes += _size(batch[-1])
            await self._deliver(batch)

    async def _report_later(
        self, publication: Publication, *, reference: BodyReference | None, until: datetime
    ) -> bool:
        try:
            if reference is not None and not reference.is_inline:
                if not await self._put_content(reference, data=publication.body or b"", until=until):
                    return self._give_up()
                publication = Publication(event=publication.event)
            waiting = _Waiting(publication, until, asyncio.get_running_loop().create_future())
            await self._queue.put(waiting)
            return await waiting.done
        except Exception:
            log.exception("attempt not reported", fetch_id=publication.event.subject)
            return False

    async def _deliver(self, batch: list[_Waiting]) -> None:
        backoff = BACKOFF_FIRST_SECONDS
        while batch:
            try:
                await publish(self._appender, [waiting.publication for waiting in batch])
            except (RedisError, OSError) as error:
                self._failed("publish failed", error, outcomes=len(batch))
            except Exception as error:  # an event that cannot be written down: it must not hold up its neighbours
                await self._isolate(batch, error)
                return
            else:
                self._metrics.published.inc(len(batch))
                _finish(batch, is_published=True)
                return
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_LIMIT_SECONDS)
            batch = self._without_ended(batch)

    async def _isolate(self, batch: list[_Waiting], error: Exception) -> None:
        if len(batch) > 1:
            for waiting in batch:
                await self._deliver([waiting])
            return
        log.error("outcome cannot be published", subject=batch[0].publication.event.subject, error=type(error).__name__)
        _finish(batch, is_published=self._give_up())

    def _without_ended(self, batch: list[_Waiting]) -> list[_Waiting]:
        now = self._clock()
        ended = [waiting for waiting in batch if waiting.until <= now or waiting.done.done()]
        for waiting in ended:
            _finish([waiting], is_published=self._give_up())
        return [waiting for waiting in batch if not waiting.done.done()]

    async def _put_content(self, reference: BodyReference, *, data: bytes, until: datetime) -> bool:
        backoff = BACKOFF_FIRST_SECONDS
        while self._clock() < until:
            try:
                async with self._session.put(
                    f"{self._store.url.rstrip('/')}/internal/v1/contents/{reference.digest}",
                    data=data,
                    headers={
                        "Authorization": f"Bearer {self._store.token}",
                        "Content-Type": "application/zstd",
                        "X-Content-Size-Bytes": str(reference.size_bytes),
                        **trace_headers(),
                    },
                    allow_redirects=False,
                ) as response:
                    response.raise_for_status()
                    return True
            except (aiohttp.ClientError, OSError) as error:
                self._failed("content not stored", error, digest=reference.digest)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_LIMIT_SECONDS)
        return False

    def _failed(self, event: str, error: Exception, **facts: object) -> None:
        self._metrics.publish_failures.inc()
        log.warning(event, error=type(error).__name__, **facts)

    def _give_up(self) -> bool:
        self._metrics.unpublished.inc()
        return False


@asynccontextmanager
async def store_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain session for our own store: it dials an internal address, which the egress guard is there to refuse."""
    timeout = aiohttp.ClientTimeout(total=CONTENT_TIMEOUT_SECONDS, sock_connect=2.0)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def _finish(batch: list[_Waiting], *, is_published: bool) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_result(is_published)


def _size(waiting: _Waiting) -> int:
    return len(waiting.publication.body or b"")
