"""Promise fetches: one atomic, durable publish of `fetch.accepted.v1`, and a look back at promises not yet in the ledger.

P3: no caller is told "accepted" before Redis has fsynced the event, and none at all while Redis cannot fsync. Submissions
that arrive while a publish is under way leave together in the next one and share its fsync; when idle none waits. A
submission that came with an Idempotency-Key leaves its record in the same step, so that there is nothing between the two.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from common.clock import Clock
from common.contracts.batches import AcceptedBatch
from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted
from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD, INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from gateway.errors import EventsUnavailable, IngestBacklog
from gateway.idempotency.keys import KeyedRequest, Reserved
from gateway.idempotency.limits import STANDARD, RecordLimits
from gateway.promises.acceptance import Acceptance, Submission, read_acceptance
from gateway.scripts.load import load_script

DURABILITY_LOOK_SECONDS = 15.0
TOGETHER_LIMIT = 100
"""Events in one publish at most."""
QUEUE_LIMIT = 2000
"""Events that wait for a publish at most; more than the server has connections."""

log = structlog.get_logger()


class Publisher:
    """Appends accepted fetches to the events stream. `run` is its one loop; `publish` may be called by any number of tasks."""

    def __init__(
        self,
        redis: Redis,
        *,
        source: str,
        clock: Clock,
        ingesting_limit: int,
        timeout_seconds: float,
        record_limits: RecordLimits = STANDARD,
    ) -> None:
        self._redis = redis
        self._source = source
        self._clock = clock
        self._ingesting_limit = ingesting_limit
        self._timeout_seconds = timeout_seconds
        self._record_limits = record_limits
        self._accept = load_script(redis, "accept")
        self._queue: asyncio.Queue[Submission] = asyncio.Queue(QUEUE_LIMIT)
        self._next_look = 0.0

    async def publish(
        self,
        fetches: Sequence[AcceptedFetch],
        *,
        batch: AcceptedBatch | None = None,
        traceparent: str | None,
        queued_limit: int | None = None,
        idempotency: KeyedRequest | None = None,
        hold_seconds: float = 0.0,
    ) -> Acceptance:
        """Accept all or none; returns once they are on disk. All are of one API key, which may have `queued_limit` unfinished.

        There are some, or the `batch` that they end, or both.
        With `idempotency`, fetches that an earlier try of the request was promised are not accepted again; for
        `hold_seconds` from the first one on, later tries are told that it is in flight. Raises IngestBacklog, RecordsFull
        and QuotaExceeded at a limit, and EventsUnavailable when Redis fails; after the latter a fetch may run all the same,
        but nobody was promised anything.
        """
        ids = [fetch.id for fetch in fetches] + ([batch.id] if batch is not None else [])
        origin = fetches[0] if fetches else batch
        if origin is None:
            raise ValueError("nothing to publish")
        event = Envelope[FetchesAccepted].wrap(
            FetchesAccepted(fetches=tuple(fetches), batch=batch),
            type=FETCH_ACCEPTED,
            source=self._source,
            subject=str(ids[0]),
            now=self._clock(),
            traceparent=traceparent,
        )
        submission = Submission(
            first=Reserved(id=ids[0], at=origin.accepted_at),
            event=event.model_dump_json(exclude_none=True),
            more_ids=[str(identifier) for identifier in ids[1:]],
            fetches=len(fetches),
            key_id=origin.key_id or "",
            queued_limit="" if queued_limit is None else queued_limit,
            idempotency=idempotency,
            hold_ms=int(hold_seconds * 1000),
            reply=asyncio.get_running_loop().create_future(),
        )
        return read_acceptance(submission.first, await self._submit(submission))

    async def recall(self, idempotency: KeyedRequest) -> Acceptance | None:
        """What an earlier try of the request came to; None when none was promised anything. Raises EventsUnavailable."""
        first = Reserved(id=new_fetch_id(), at=self._clock())
        reply = asyncio.get_running_loop().create_future()
        said = await self._submit(Submission(first=first, idempotency=idempotency, reply=reply))
        return None if said == [b"unknown"] else read_acceptance(first, said)

    async def run(self) -> None:
        """Publish what waits, together, until cancelled. A failure is told to those whom it concerns, and the loop goes on."""
        while True:
            submissions = [await self._queue.get()]
            while len(submissions) < TOGETHER_LIMIT and not self._queue.empty():
                submissions.append(self._queue.get_nowait())
            try:
                replies = await self._append(submissions)
            except Exception as error:
                log.warning("publish failed", error=type(error).__name__, reason=str(error)[:300], events=len(submissions))
                _answer_all(submissions, EventsUnavailable(type(error).__name__))
            else:
                _answer_each(submissions, replies)

    async def find(self, fetch_id: UUID, *, tenant: str) -> AcceptedFetch | None:
        """A fetch of the tenant that was accepted and is not yet in the ledger, or None. Raises EventsUnavailable."""
        event = await self._event_of(fetch_id)
        promised = (fetch for fetch in event.fetches if fetch.tenant == tenant) if event is not None else ()
        return next((fetch for fetch in promised if fetch.id == fetch_id), None)

    async def find_batch(self, batch_id: UUID, *, tenant: str) -> AcceptedBatch | None:
        """A batch of the tenant that was accepted and is not yet in the ledger, or None. Raises EventsUnavailable."""
        event = await self._event_of(batch_id)
        batch = event.batch if event is not None else None
        return batch if batch is not None and (batch.id, batch.tenant) == (batch_id, tenant) else None

    async def _event_of(self, identifier: UUID) -> FetchesAccepted | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                entry_id = await self._redis.hget(INGESTING_HASH, str(identifier))
                if entry_id is None:
                    return None
                entries: Any = await self._redis.xrange(ACCEPTED_STREAM, min=entry_id, max=entry_id, count=1)
        except (RedisError, OSError) as error:
            raise EventsUnavailable(type(error).__name__) from error
        return Envelope[FetchesAccepted].model_validate_json(entries[0][1][EVENT_FIELD]).data if entries else None

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

    async def _submit(self, submission: Submission) -> list[bytes]:
        """What the script says of it, once it has left with others."""
        try:
            self._queue.put_nowait(submission)
            async with asyncio.timeout(self._timeout_seconds):
                return await submission.reply
        except asyncio.QueueFull as error:
            raise IngestBacklog("the limit of waiting submissions is reached") from error
        except TimeoutError as error:
            raise EventsUnavailable("no answer in time") from error

    async def _append(self, submissions: Sequence[Submission]) -> list[list[bytes]]:
        """What became of each submission, as `accept.lua` says it."""
        limits = self._record_limits
        arguments: list[bytes | str | int] = [self._ingesting_limit, limits.records]
        arguments += [limits.retention_seconds, limits.short_retention_seconds]
        keys = [ACCEPTED_STREAM, INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH]
        for submission in submissions:
            arguments += submission.arguments
            if submission.idempotency is not None:
                keys.append(submission.idempotency.record)
        async with asyncio.timeout(self._timeout_seconds):
            now = asyncio.get_running_loop().time()
            if now >= self._next_look:
                await self.check()
                self._next_look = now + DURABILITY_LOOK_SECONDS
            replies: list[list[bytes]] = await self._accept(keys=keys, args=arguments)
        return replies


def _answer_all(submissions: Sequence[Submission], error: EventsUnavailable) -> None:
    for submission in submissions:
        if not submission.reply.done():  # a caller that gave up has cancelled its future
            submission.reply.set_exception(error)


def _answer_each(submissions: Sequence[Submission], replies: Sequence[list[bytes]]) -> None:
    for submission, reply in zip(submissions, replies, strict=True):
        if not submission.reply.done():
            submission.reply.set_result(reply)
