"""At the first door: which new fetches are answered by a stored response, and which wait for an equal pending one.

Stores that accept equal fetches at once agree by advisory locks taken in order; a leader's row is locked so that it cannot
finish unseen. Costs nothing for sets without a fetch that accepts an older response.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from common.contracts.views import ServedByKind

from store.database import Connection
from store.fetches.lifecycle import Finish, tell_again
from store.fetches.stored import stored_of
from store.queries import query

LOCK = query("reuse_lock")
LOCK_LEADERS = query("reuse_lock_leaders")
NEWEST = query("reuse_newest")
KNOWN = query("fetches_known")

LOCK_CLASS = 0x72657573  # "reus"
LOCK_BUCKETS = 256
"""Advisory locks that one transaction takes at most: Postgres keeps them in a table of fixed size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A fetch at the door that accepts an older response."""

    id: UUID
    sharing_key: bytes
    coalesce_key: bytes
    max_age_seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusePlan:
    """Who waits for whom, and who is answered at once."""

    leaders: Mapping[UUID, UUID] = field(default_factory=dict)
    finishes: Sequence[Finish] = field(default=())


async def plan_reuse(connection: Connection, askers: Sequence[Asker], *, now: datetime | None) -> ReusePlan:
    """Decide for new fetches, in the transaction that is about to insert them; those already in the ledger are left alone."""
    if not askers:
        return ReusePlan()
    buckets = sorted({asker.coalesce_key[0] % LOCK_BUCKETS for asker in askers})
    await connection.execute(LOCK, LOCK_CLASS, buckets)
    known = {row["id"] for row in await connection.fetch(KNOWN, [asker.id for asker in askers])}
    new = [asker for asker in askers if asker.id not in known]
    pending = await _pending_leaders(connection, new)
    finishes = await _answers(connection, new, now=now)  # after the leaders: what one of them ended with meanwhile is seen
    answered = {finish.id for finish in finishes}
    leaders: dict[UUID, UUID] = {}
    for asker in new:
        if asker.id in answered:
            continue
        leader_id = pending.setdefault(asker.coalesce_key, asker.id)
        if leader_id != asker.id:
            leaders[asker.id] = leader_id
    return ReusePlan(leaders=leaders, finishes=finishes)


async def _pending_leaders(connection: Connection, askers: Sequence[Asker]) -> dict[bytes, UUID]:
    keys = sorted({asker.coalesce_key for asker in askers})
    return {row["coalesce_key"]: row["id"] for row in await connection.fetch(LOCK_LEADERS, keys)}


async def _answers(connection: Connection, askers: Sequence[Asker], *, now: datetime | None) -> list[Finish]:
    rows = await connection.fetch(
        NEWEST,
        [asker.id for asker in askers],
        [asker.sharing_key for asker in askers],
        [asker.max_age_seconds for asker in askers],
        [asker.max_bytes for asker in askers],
        now,
    )
    return [
        tell_again(row["asker_id"], stored_of(row), kind=ServedByKind.CACHE, age_seconds=row["age_seconds"]) for row in rows
    ]
