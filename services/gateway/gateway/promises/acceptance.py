"""The two sides of `accept.lua` in our words: what a submission asks of it, and what it says came of that."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import EventsUnavailable, IngestBacklog, Limit, QuotaExceeded, RecordsFull
from gateway.idempotency.keys import KeyedRequest, Reserved
from gateway.metrics import KeyVerdict

QUEUED_RETRY_SECONDS = 5
"""When to come back to a key that has too many unfinished fetches: some may have finished by then."""

TOO_MANY_QUEUED = "This key has as many unfinished fetches as it may have; send it again when some have finished."


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What came of a submission: the id and time of its first fetch, promised now or by an earlier try of the same request.

    `verdict` is that about its Idempotency-Key: None when it came without one, or under a record that is its own already.
    When it is REUSED or IN_FLIGHT nothing was promised. `status` is what the first try was answered with.
    """

    first: Reserved
    verdict: KeyVerdict | None = None
    status: int = 202

    @property
    def is_replay(self) -> bool:
        """Whether an earlier try was promised this."""
        return self.verdict is KeyVerdict.REPLAYED


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One submission as `accept.lua` takes it; `reply` is what that says of it. Without an event it only looks.

    Of its ids so many as `fetches` are of fetches; one may be the id of a batch.
    """

    first: Reserved
    event: str = ""
    more_ids: Sequence[str] = ()
    fetches: int = 1
    key_id: str = ""
    queued_limit: int | str = ""
    idempotency: KeyedRequest | None = None
    hold_ms: int = 0
    reply: "asyncio.Future[list[bytes]]"

    @property
    def arguments(self) -> list[bytes | str | int]:
        """Its part of the script's arguments."""
        fingerprint = (self.idempotency and self.idempotency.fingerprint) or b""
        at = self.first.microseconds if self.idempotency else 0
        facts = [self.event, self.key_id, self.queued_limit, fingerprint, at, self.hold_ms]
        return [*facts, self.fetches, 1 + len(self.more_ids), str(self.first.id), *self.more_ids]


def read_acceptance(first: Reserved, reply: Sequence[bytes]) -> Acceptance:
    """What the script said of one submission.

    Raises IngestBacklog, QuotaExceeded or RecordsFull where a limit was reached, and EventsUnavailable while there is no stream.
    """
    match reply:
        case [b"accepted", _]:
            return Acceptance(first=first)
        case [b"new" | b"shortened" as kind, _]:
            return Acceptance(first=first, verdict=KeyVerdict(kind.decode()))
        case [b"replayed", id, at, status]:
            return Acceptance(first=Reserved.read(id, at), verdict=KeyVerdict.REPLAYED, status=int(status))
        case [b"reused" | b"in_flight" as kind]:
            return Acceptance(first=first, verdict=KeyVerdict(kind.decode()))
        case [b"quota"]:
            raise QuotaExceeded(Limit.QUEUED, QUEUED_RETRY_SECONDS, TOO_MANY_QUEUED)
        case [b"refused"]:
            raise RecordsFull("the limit of idempotency keys that are remembered is reached")
        case [b"closed"]:
            raise EventsUnavailable("the events Redis is empty, and no store has noted that yet")
        case _:
            raise IngestBacklog("the limit of fetches being ingested is reached")
