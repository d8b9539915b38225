"""A batch that came with an Idempotency-Key: claimed before its body is read, known by it at its end.

A batch that broke off and comes again has the id and the time of its first try, and so the ids of all its fetches.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from common.ids import new_fetch_id
from fastapi import Response

from gateway.batch_bodies import BatchBody
from gateway.dependencies import Means
from gateway.errors import GatewayError
from gateway.idempotency_key import KeyedRequest, Reserved
from gateway.idempotency_records import Answer, Conflict, Fresh, Replay
from gateway.metrics import KeyVerdict
from gateway.problems import Problem


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

    async def renew(self) -> None:
        """Say that the batch is still being taken in. Raises Problem when another try took it over, and EventsUnavailable."""
        if self.fresh is not None and not await self.means.idempotency.renew(self.fresh):
            raise Problem.of_key(KeyVerdict.IN_FLIGHT)

    async def complete(self, response: Response, *, body: BatchBody) -> None:
        """Keep the answer for later tries; where that fails they are answered anew, about the same fetches."""
        if self.fresh is not None:
            with suppress(GatewayError):
                answer, fingerprint = Answer.of(response), body.fingerprint.digest()
                await self.means.idempotency.complete(self.fresh, answer, fingerprint=fingerprint)

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
