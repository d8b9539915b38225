"""Promise fetches: one atomic, durable publish of `fetch.accepted.v1`, and a look back at promises not yet in the ledger.

P3: no caller is told "accepted" before Redis has fsynced the event, and none at all while Redis cannot fsync. Submissions
that arrive while a publish is under way leave together in the next one and share its fsync; when idle none waits.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import UUID

import structlog
from common.clock import Clock
from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD, INGESTING_HASH
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from gateway.errors import EventsUnavailable, IngestBacklog

DURABILITY_LOOK_SECONDS = 15.0
TOGETHER_LIMIT = 100
"""Events in one publish at most."""
QUEUE_LIMIT = 2000
"""Events that wait for a publish at most; more than the server has connections."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Submission:
    event: str
    ids: Sequence[str]
    entry: "asyncio.Future[bytes | None]"


class Publisher:
    """Appends accepted fetches to the events stream. `run` is its one loop; `publish` may be called by any number of tasks."""

    def __init__(self, redis: Redis, *, source: str, clock: Clock, ingesting_limit: int, timeout_seconds: float) -> None:
        self._redis = redis
        self._source = source
        self._clock = clock
        self._ingesting_limit = ingesting_limit
        self._timeout_seconds = timeout_seconds
        self._accept = redis.register_script(files("gateway").joinpath("accept.lua").read_text(encoding="utf-8"))
        self._queue: asyncio.Queue[_Submission] = asyncio.Queue(QUEUE_LIMIT)
        self._next_look = 0.0

    async def publish(self, fetches: Sequence[AcceptedFetch], *, traceparent: str | None) -> None:
        """Accept all or none; returns once they are on disk.

        Raises IngestBacklog at a limit and EventsUnavailable when Redis fails; after the latter a fetch may run all the
        same, but nobody was promised anything.
        """
        event = Envelope[FetchesAccepted].wrap(
            FetchesAccepted(fetches=tuple(fetches)),
            type=FETCH_ACCEPTED,
            source=self._source,
            subject=str(fetches[0].id),
            now=self._clock(),
            traceparent=traceparent,
        )
        submission = _Submission(
            event=event.model_dump_json(exclude_none=True),
            ids=[str(fetch.id) for fetch in fetches],
            entry=asyncio.get_running_loop().create_future(),
        )
        try:
            self._queue.put_nowait(submission)
            async with asyncio.timeout(self._timeout_seconds):
                entry = await submission.entry
        except asyncio.QueueFull as error:
            raise IngestBacklog("the limit of waiting submissions is reached") from error
        except TimeoutError as error:
            raise EventsUnavailable("no answer in time") from error
        if entry is None:
            raise IngestBacklog("the limit of fetches being ingested is reached")

    async def run(self) -> None:
        """Publish what waits, together, until cancelled. A failure is told to those whom it concerns, and the loop goes on."""
        while True:
            submissions = [await self._queue.get()]
            while len(submissions) < TOGETHER_LIMIT and not self._queue.empty():
                submissions.append(self._queue.get_nowait())
            try:
                entries = await self._append(submissions)
            except Exception as error:
                log.warning("publish failed", error=type(error).__name__, reason=str(error)[:300], events=len(submissions))
                _answer_all(submissions, EventsUnavailable(type(error).__name__))
            else:
                _answer_each(submissions, entries)

    async def find(self, fetch_id: UUID, *, tenant: str) -> AcceptedFetch | None:
        """A fetch of the tenant that was accepted and is not yet in the ledger, or None. Raises EventsUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                entry_id = await self._redis.hget(INGESTING_HASH, str(fetch_id))
                if entry_id is None:
                    return None
                entries: Any = await self._redis.xrange(ACCEPTED_STREAM, min=entry_id, max=entry_id, count=1)
        except (RedisError, OSError) as error:
            raise EventsUnavailable(type(error).__name__) from error
        events = [Envelope[FetchesAccepted].model_validate_json(fields[EVENT_FIELD]) for _, fields in entries]
        promised = (fetch for event in events for fetch in event.data.fetches if fetch.tenant == tenant)
        return next((fetch for fetch in promised if fetch.id == fetch_id), None)

    async def check(self) -> None:
        """Raise unless Redis answers and can keep a promise."""
        persistence = await self._redis.info("persistence")
        if not persistence.get("aof_enabled"):
            raise EventsUnavailable("the events Redis keeps no append-only file")
        if persistence.get("aof_last_write_status") != "ok":
            raise EventsUnavailable("the events Redis cannot write its append-only file")
        try:
            policy = (await self._redis.config_get("appendfsync")).get("appendfsync", "always")
        except (NoPermissionError, ResponseError):
            return  # our user may not read the configuration; whoever deployed us vouches for it
        if policy != "always":
            raise EventsUnavailable("the events Redis does not fsync always")

    async def _append(self, submissions: Sequence[_Submission]) -> list[bytes | None]:
        """The stream entry of each submission, None where the limit of fetches being ingested stood in the way."""
        arguments: list[str | int] = [self._ingesting_limit]
        for submission in submissions:
            arguments += [submission.event, len(submission.ids), *submission.ids]
        async with asyncio.timeout(self._timeout_seconds):
            now = asyncio.get_running_loop().time()
            if now >= self._next_look:
                await self.check()
                self._next_look = now + DURABILITY_LOOK_SECONDS
            entries: list[bytes | None] = await self._accept(keys=[ACCEPTED_STREAM, INGESTING_HASH], args=arguments)
        return entries


def _answer_all(submissions: Sequence[_Submission], error: EventsUnavailable) -> None:
    for submission in submissions:
        if not submission.entry.done():  # a caller that gave up has cancelled its future
            submission.entry.set_exception(error)


def _answer_each(submissions: Sequence[_Submission], entries: Sequence[bytes | None]) -> None:
    for submission, entry in zip(submissions, entries, strict=True):
        if not submission.entry.done():
            submission.entry.set_result(entry)
