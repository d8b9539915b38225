"""Looks after followers whose leader takes too long: one of them goes its own way, and the others follow that one."""

from datetime import datetime

from store.database import Connection, Pool, in_transaction
from store.fetches.followers import FOLLOW_MARGIN_SECONDS
from store.hosts.rows import expect_work
from store.queries import query

PROMOTE = query("followers_promote")
BATCH_FETCHES = 1000
REST_SECONDS = 1.0


class FollowerPromoter:
    """The loop that keeps a stuck leader from holding up those that wait for it, without letting all of them loose at once."""

    name = "follower promoter"

    def __init__(self, *, pool: Pool) -> None:
        self._pool = pool

    async def run_once(self, *, now: datetime | None = None) -> float:
        """See to one batch; rests when there are no more. `now` None is Postgres's."""
        waited = await in_transaction(self._pool, lambda connection: _promote(connection, now=now))
        return 0 if waited == BATCH_FETCHES else REST_SECONDS


async def _promote(connection: Connection, *, now: datetime | None) -> int:
    row = await connection.fetchrow(PROMOTE, BATCH_FETCHES, FOLLOW_MARGIN_SECONDS, now)
    await expect_work(connection, row["promoted"] or [], now=now)
    return int(row["waited"])
