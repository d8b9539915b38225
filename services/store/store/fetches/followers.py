"""When a leader is finished, those that waited for it end as it did, in the same transaction, a bounded set at a time.

What is left over is noted in `finished_leaders` and goes on in `maintenance/follower_finisher.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from common.contracts.fetches import FetchStatus
from common.contracts.views import ServedByKind

from store.database import Connection
from store.fetches.lifecycle import Finish, tell_again
from store.fetches.stored import read_stored
from store.queries import query

LOCK = query("followers_lock")
RELEASE = query("followers_release")
NOTE = query("finished_leaders_insert")
NOW = query("queue_now")

WITHOUT_OUTCOME = frozenset({FetchStatus.CANCELLED, FetchStatus.EXPIRED})
"""How fetches end that no attempt decided about: nobody shares that."""
FOLLOWERS_AT_ONCE = 500
"""Followers that end in the transaction that finished their leader, at most."""
FOLLOW_MARGIN_SECONDS = 30.0
"""A follower that changes its leader waits for the new one's timeout and this long before it is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """How followers end, and the hosts of those that are due by themselves now."""

    finishes: Sequence[Finish] = ()
    released: frozenset[str] = frozenset()


async def share_outcomes(connection: Connection, leader_ids: Sequence[UUID], *, now: datetime | None) -> Shared:
    """How one set of the followers of finished leaders ends; the caller finishes them in the same transaction.

    Of the followers for whom the leader's outcome is older than they accept, or is none (it was cancelled, or expired), one is
    due at once, and the others follow it.
    """
    rows = await connection.fetch(LOCK, list(leader_ids), FOLLOWERS_AT_ONCE)
    if not rows:
        return Shared()
    told_at: datetime = now or await connection.fetchval(NOW)
    stored = await read_stored(connection, sorted({row["leader_id"] for row in rows}))
    finishes: list[Finish] = []
    alone: list[UUID] = []
    for row in rows:
        outcome = stored.get(row["leader_id"])
        oldest = row["accepted_at"] - timedelta(seconds=row["max_age_seconds"])
        if outcome is None or outcome.status in WITHOUT_OUTCOME or outcome.fetched_at < oldest:
            alone.append(row["id"])
            continue
        age_seconds = (told_at - outcome.fetched_at).total_seconds()
        finishes.append(tell_again(row["id"], outcome, kind=ServedByKind.COALESCED, age_seconds=age_seconds))
    released = await connection.fetch(RELEASE, alone, FOLLOW_MARGIN_SECONDS, now) if alone else []
    return Shared(finishes=finishes, released=frozenset(row["host"] for row in released))


async def note_leftovers(connection: Connection, leader_ids: Sequence[UUID]) -> None:
    """Remember finished leaders that still have followers."""
    await connection.execute(NOTE, sorted(leader_ids))
