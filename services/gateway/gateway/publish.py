"""Promise fetches: one atomic, durable publish of `fetch.accepted.v1`, and a look back at promises not yet in the ledger.

P3: no caller is told "accepted" before Redis has fsynced the event, and none at all while Redis cannot fsync.
"""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from uuid import UUID

from common.clock import Clock
from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD, INGESTING_HASH
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from gateway.errors import EventsUnavailable, IngestBacklog

DURABILITY_LOOK_SECONDS = 15.0


class Publisher:
    """Appends accepted fetches to the events stream."""

    def __init__(self, redis: Redis, *, source: str, clock: Clock, ingesting_limit: int, timeout_seconds: float) -> None:
        self._redis = redis
        self._source = source
        self._clock = clock
        self._ingesting_limit = ingesting_limit
        self._timeout_seconds = timeout_seconds
        self._accept = redis.register_script(files("gateway").joinpath("accept.lua").read_text(encoding="utf-8"))
        self._next_look = 0.0

    async def publish(self, fetches: Sequence[AcceptedFetch], *, traceparent: str | None) -> None:
        """Accept all or none; returns once they are on disk.

        Raises IngestBacklog at the limit and EventsUnavailable when Redis fails; after the latter a fetch may run all the
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
        ids = [str(fetch.id) for fetch in fetches]
        arguments: list[str | int] = [event.model_dump_json(exclude_none=True), self._ingesting_limit, *ids]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._check_durability_now_and_then()
                entry = await self._accept(keys=[ACCEPTED_STREAM, INGESTING_HASH], args=arguments)
        except (RedisError, OSError) as error:
            raise EventsUnavailable(type(error).__name__) from error
        if entry is None:
            raise IngestBacklog("the limit of fetches being ingested is reached")

    async def find(self, fetch_id: UUID) -> AcceptedFetch | None:
        """A fetch that was accepted and is not yet in the ledger, or None. Raises EventsUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                entry_id = await self._redis.hget(INGESTING_HASH, str(fetch_id))
                if entry_id is None:
                    return None
                entries: Any = await self._redis.xrange(ACCEPTED_STREAM, min=entry_id, max=entry_id, count=1)
        except (RedisError, OSError) as error:
            raise EventsUnavailable(type(error).__name__) from error
        events = [Envelope[FetchesAccepted].model_validate_json(fields[EVENT_FIELD]) for _, fields in entries]
        return next((fetch for event in events for fetch in event.data.fetches if fetch.id == fetch_id), None)

    async def check(self) -> None:
        """Raise unless Redis answers and can keep a promise."""
        await self._check_durability()

    async def _check_durability_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_look:
            await self._check_durability()
            self._next_look = now + DURABILITY_LOOK_SECONDS

    async def _check_durability(self) -> None:
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
