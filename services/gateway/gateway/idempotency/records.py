"""What is remembered about requests that came with an Idempotency-Key: claimed by one try at a time, answered once.

The records are in the events Redis, fsynced, so that they are there while the store is away and after any restart. Answers
are sealed under the credentials that the request presented, so that none lies there in the clear and no other API key is
told them. The fetches of `POST /v1/fetches` need none of this: `accept.lua` keeps their records with the promise itself.
"""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from common.clock import Clock
from common.ids import new_fetch_id
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.responses import Response

from gateway.errors import EventsUnavailable, RecordsFull
from gateway.idempotency.keys import RECORD_PREFIX, REPLAYED, KeyedRequest, Reserved
from gateway.idempotency.limits import RecordLimits
from gateway.idempotency.sealing import seal, unseal
from gateway.metrics import AnswerKept, GatewayMetrics, KeyVerdict
from gateway.scripts.load import load_script

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it is replayed: status, headers and body, byte for byte."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "Answer":
        """That of a response whose body is in memory."""
        return cls(status=response.status_code, headers=tuple(response.raw_headers), body=bytes(response.body))

    def replay(self) -> Response:
        """The same answer, marked as one that was given before."""
        response = Response(self.body, status_code=self.status)
        response.raw_headers = [*self.headers, REPLAYED]
        return response

    def packed(self) -> bytes:
        """One text: a line of JSON, then the body."""
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        return json.dumps([self.status, headers], separators=(",", ":")).encode() + b"\n" + self.body

    @classmethod
    def unpacked(cls, text: bytes) -> "Answer":
        """What `packed` made a text of."""
        line, _, body = text.partition(b"\n")
        status, headers = json.loads(line)
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        return cls(status=status, headers=pairs, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The request is this try's to work on, for as long as the lease lasts. What it creates takes what is reserved."""

    request: KeyedRequest
    reserved: Reserved
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The request was answered before. Who could not name its own fingerprint when it claimed compares it with this one first."""

    answer: Answer
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The key stands for another request, or for one that is still under way."""

    verdict: KeyVerdict


class IdempotencyRecords:
    """The records of keyed requests. Every method raises EventsUnavailable when Redis fails, and else what it names."""

    def __init__(
        self, redis: Redis, *, limits: RecordLimits, clock: Clock, metrics: GatewayMetrics, timeout_seconds: float
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._claim = load_script(redis, "idempotency_claim")
        self._change = load_script(redis, "idempotency_change")

    @property
    def lease_seconds(self) -> int:
        """How long a claim lasts without being renewed."""
        return self._limits.lease_seconds

    @property
    def answer_limit_bytes(self) -> int:
        """The largest answer that is kept."""
        return self._limits.answer_bytes

    async def claim(self, request: KeyedRequest) -> Fresh | Replay | Conflict:
        """Begin to work on a request, unless another try does, or did. Raises RecordsFull too.

        Without a fingerprint a finished request is replayed to whoever asks: compare the fingerprints before sending it.
        """
        own = Reserved(id=new_fetch_id(), at=self._clock())
        limits = self._limits
        arguments: list[bytes | str | int] = [
            request.fingerprint or b"",
            str(own.id),
            own.microseconds,
            limits.lease_seconds * 1000,
            limits.records,
            limits.retention_seconds,
            limits.short_retention_seconds,
        ]
        result, *facts = await self._within(self._claim(keys=[request.record], args=arguments))
        verdict, found = self._found(KeyVerdict(result.decode()), facts, request, holder=str(own.id))
        self._metrics.note_key(verdict)
        if found is None:
            raise RecordsFull("the limit of idempotency keys that are remembered is reached")
        return found

    async def renew(self, claim: Fresh) -> bool:
        """Hold a claim for another lease from now on; False when another try has it by now."""
        return await self._change_of(claim.request, claim.holder, "renew", self._limits.lease_seconds * 1000) != b"lost"

    async def complete(self, claim: Fresh, answer: Answer, *, fingerprint: bytes | None = None) -> None:
        """Keep the answer for all later tries. An answer beyond the limits is not kept: the next try takes the same id and time.

        `fingerprint` is that of a request which could not name its own when it claimed.
        """
        named = fingerprint or claim.request.fingerprint
        if named is None:
            raise ValueError("a request is complete only with its fingerprint")
        packed = answer.packed()
        if len(packed) > self._limits.answer_bytes:
            self._metrics.note_answer(AnswerKept.TOO_LARGE)
            await self.release(claim)
            return
        sealed = seal(packed, bearer=claim.request.bearer, context=_context(claim.request, named))
        limits = self._limits
        budget = (limits.answers_of_tenant_bytes, limits.retention_seconds * 2)
        result = await self._change_of(claim.request, claim.holder, "complete", named, sealed, *budget)
        self._metrics.note_answer(AnswerKept(result.decode()))

    async def release(self, claim: Fresh) -> None:
        """End a claim without an answer: the next try works on it again, with the same id and time."""
        await self._change_of(claim.request, claim.holder, "release")

    async def forget(self, claim: Fresh) -> None:
        """End a claim under which nothing happened: its key is free again for any request."""
        await self._change_of(claim.request, claim.holder, "forget")

    async def settle(self, request: KeyedRequest, reserved: Reserved, *, status: int) -> None:
        """End the hold of a request that was promised with one, and note the status that it was answered with."""
        await self._change_of(request, str(reserved.id), "settle", status)

    def _found(
        self, verdict: KeyVerdict, facts: Sequence[bytes], request: KeyedRequest, *, holder: str
    ) -> tuple[KeyVerdict, Fresh | Replay | Conflict | None]:
        if verdict in (KeyVerdict.NEW, KeyVerdict.SHORTENED, KeyVerdict.RESUMED):
            reserved = Reserved.read(*facts)
            return verdict, Fresh(request=request, reserved=reserved, holder=holder)
        if verdict is KeyVerdict.REPLAYED:
            fingerprint, sealed = facts
            packed = unseal(sealed, bearer=request.bearer, context=_context(request, fingerprint))
            if packed is not None:
                return verdict, Replay(answer=Answer.unpacked(packed), fingerprint=fingerprint)
            return KeyVerdict.REUSED, Conflict(verdict=KeyVerdict.REUSED)  # other credentials: another request
        return verdict, None if verdict is KeyVerdict.REFUSED else Conflict(verdict=verdict)

    async def _change_of(self, request: KeyedRequest, holder: str, *action: bytes | str | int) -> bytes:
        window = int(self._clock().timestamp()) // self._limits.retention_seconds
        keys = [request.record, f"{RECORD_PREFIX}answers:{request.tenant}:{window}"]
        result: bytes = await self._within(self._change(keys=keys, args=[holder, *action]))
        if result == b"lost":
            log.warning("idempotency claim was lost", action=str(action[0]))
        return result

    async def _within(self, call: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await call
        except (RedisError, OSError) as error:
            raise EventsUnavailable(type(error).__name__) from error


def _context(request: KeyedRequest, fingerprint: bytes) -> bytes:
    return request.record.encode() + b"\0" + fingerprint
