"""A batch that came with an Idempotency-Key: claimed before its body is read, known by it at its end.

A batch that broke off and comes again has the id and the time of its first try, and so the ids of all its fetches.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from common.chassis.lifecycle import rest_unless
from common.ids import new_fetch_id
from fastapi import Response

from gateway.batches.bodies import BatchBody
from gateway.dependencies import Means
from gateway.errors import GatewayError
from gateway.idempotency.keys import KeyedRequest, Reserved
from gateway.idempotency.records import Answer, Conflict, Fresh, Replay
from gateway.metrics import KeyVerdict
from gateway.problems.answers import Problem

RENEWALS_OF_LEASE = 3
"""How often a lease is renewed before it would end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchClaim:
    """The right to take one batch in, which lasts while it is renewed; of one without a key, nothing but an id and a time."""

    means: Means
    reserved: Reserved
    fresh: Fresh | None = None

    @classmethod
    async def begin(cls, keyed: KeyedRequest | None, means: Means) -> "Self | Replay":
        """The claim, or the answer to an earlier try. Raises Problem when the key stands in the way, and EventsUnavailable."""
        if keyed is None:
            return cls(means=means, reserved=Reserved(id=new_fetch_id(), at=means.clock()))
        found = await means.idempotency.claim(keyed)
        if isinstance(found, Conflict):
            raise Problem.of_key(found.verdict)
        return found if isinstance(found, Replay) else cls(means=means, reserved=found.reserved, fresh=found)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the claim while the block runs, however slowly its lines come. That it was lost, `check` says."""
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew_until(done))
        try:
            yield
        finally:
            done.set()
            await renewing  # a renewal under way is not cut off: it must not come behind what ends the claim

    async def check(self) -> None:
        """Renew the claim. Raises Problem when another try took it over, and EventsUnavailable."""
        if self.fresh is not None and not await self.means.idempotency.renew(self.fresh):
            raise Problem.of_key(KeyVerdict.IN_FLIGHT)

    async def complete(self, response: Response, *, body: BatchBody) -> None:
        """Keep the answer for later tries; where that fails they are answered anew, about the same fetches."""
        if self.fresh is not None:
            with suppress(GatewayError):
                answer, fingerprint = Answer.of(response), body.fingerprint.digest()
                await self.means.idempotency.complete(self.fresh, answer, fingerprint=fingerprint)

    async def _renew_until(self, done: asyncio.Event) -> None:
        seconds = self.means.idempotency.lease_seconds / RENEWALS_OF_LEASE
        while self.fresh is not None and not await rest_unless(done, seconds):
            with suppress(GatewayError):  # tried again before the lease ends
                await self.means.idempotency.renew(self.fresh)

    async def let_go(self, *, has_accepted: bool) -> None:
        """End without an answer: the next try has the same id and time, unless nothing was accepted under them."""
        if self.fresh is None:
            return
        records = self.means.idempotency
        with suppress(GatewayError):  # then its lease ends
            await (records.release(self.fresh) if has_accepted else records.forget(self.fresh))


async def replay(earlier: Replay, body: BatchBody) -> Response:
    """The answer to an earlier try, for the same body. Raises Problem for another one, and what reading it raises."""
    await body.skip()
    if body.fingerprint.digest() != earlier.fingerprint:
        raise Problem.of_key(KeyVerdict.REUSED)
    return earlier.answer.replay()
