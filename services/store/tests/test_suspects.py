"""What was left unanswered may be what killed its worker: the last dispatch is made with no other such fetch out."""

import asyncio

from ledger_words import PACE, accept_events, accepted, at, claim_each
from store.database import Pool
from store.dispatch.claim import SUSPECTS_LOCK_KEY, Claimed, Lease

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
FIRST_LEASE_SECONDS = 15
"""The second is twice as long, the third and last three times."""


async def _queue(pool: Pool, fetches: int, *, seconds: float = 0) -> None:
    await accept_events(pool, accepted(fetches, timeout_seconds=5.0), now=at(seconds))


async def _claim(pool: Pool, *, seconds: float) -> list[Claimed]:
    return await claim_each(pool, limit=100, leased_limit=100, lease=LEASE, pace=PACE, now=at(seconds))


async def _answer(pool: Pool, claimed: Claimed) -> None:
    await pool.execute("DELETE FROM fetch_queue WHERE id = $1", claimed.command.id)


async def _dispatches(pool: Pool, *, seconds: float) -> list[int]:
    return sorted(claimed.command.dispatch_seq for claimed in await _claim(pool, seconds=seconds))


async def test_a_second_dispatch_of_three_is_made_in_company(pool: Pool) -> None:
    await _queue(pool, 4)
    assert await _dispatches(pool, seconds=0) == [1] * 4
    assert await _dispatches(pool, seconds=15) == [2] * 4


async def test_the_last_dispatches_are_made_one_after_another_and_fresh_fetches_go_on(pool: Pool) -> None:
    await _queue(pool, 3)
    assert [await _dispatches(pool, seconds=moment) for moment in (0, 15)] == [[1] * 3, [2] * 3]
    (first,) = await _claim(pool, seconds=45)
    assert (first.command.dispatch_seq, first.is_last) == (3, True)
    await _queue(pool, 2, seconds=46)
    fresh = await _claim(pool, seconds=46)
    assert [(claimed.command.dispatch_seq, claimed.is_last) for claimed in fresh] == [(1, False)] * 2
    await _answer(pool, first)
    assert await _dispatches(pool, seconds=47) == [3]


async def test_while_one_is_out_for_the_last_time_no_other_is_until_its_lease_ends(pool: Pool) -> None:
    await _queue(pool, 2)
    assert [await _dispatches(pool, seconds=moment) for moment in (0, 15, 45)] == [[1] * 2, [2] * 2, [3]]
    assert await _dispatches(pool, seconds=45 + 3 * FIRST_LEASE_SECONDS - 1) == []
    assert await _dispatches(pool, seconds=45 + 3 * FIRST_LEASE_SECONDS) == [3]


async def test_a_killed_worker_is_recovered_beside_a_last_dispatch_after_one_lease_of_it(pool: Pool) -> None:
    await _queue(pool, 1)
    assert [await _dispatches(pool, seconds=moment) for moment in (0, 15)] == [[1], [2]]
    await _queue(pool, 2, seconds=31)
    assert await _dispatches(pool, seconds=31) == [1, 1]
    assert await _dispatches(pool, seconds=45) == [3]
    assert await _dispatches(pool, seconds=45 + FIRST_LEASE_SECONDS - 1) == []
    assert await _dispatches(pool, seconds=45 + FIRST_LEASE_SECONDS) == [2, 2]


async def test_a_last_dispatch_waits_for_other_suspects(pool: Pool) -> None:
    await _queue(pool, 1)
    assert [await _dispatches(pool, seconds=moment) for moment in (0, 15)] == [[1], [2]]
    await _queue(pool, 1, seconds=28)
    assert await _dispatches(pool, seconds=28) == [1]
    assert await _dispatches(pool, seconds=45) == [2], "the two were due together, and the last dispatch did not wait"
    assert await _dispatches(pool, seconds=74) == []
    assert await _dispatches(pool, seconds=75) == [3]


async def test_two_dispatchers_do_not_give_out_suspects_at_once(pool: Pool) -> None:
    await _queue(pool, 2)
    assert [await _dispatches(pool, seconds=moment) for moment in (0, 15)] == [[1] * 2, [2] * 2]
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", SUSPECTS_LOCK_KEY)
        assert await _dispatches(pool, seconds=45) == []
    both = await asyncio.gather(_claim(pool, seconds=46), _claim(pool, seconds=46))
    assert sum(map(len, both)) == 1


async def test_a_fetch_with_one_dispatch_only_is_never_suspected(pool: Pool) -> None:
    await _queue(pool, 3)
    lease = Lease(margin_seconds=10, abandon_after_dispatches=1)
    claimed = await claim_each(pool, limit=9, leased_limit=9, lease=lease, pace=PACE, now=at(0))
    assert [fetch.is_last for fetch in claimed] == [False] * 3
