"""Pages of fetches: every filter, the newest first, nothing twice and nothing left out, and nothing of another tenant."""

from uuid import UUID, uuid4

import pytest
from common.contracts.fetches import AcceptedFetch, FetchRequest, FetchStatus
from common.ids import new_fetch_id
from ledger_words import NOW, PACE, accept_events, at, claim_each, wrap_accepted
from store.database import Pool, in_transaction
from store.dispatch.claim import Lease
from store.fetches.cancel import cancel_fetch
from store.fetches.pages import Filters, page_ids

BATCH = uuid4()
LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)


def _fetch(number: int, *, tenant: str = "default") -> AcceptedFetch:
    """Every other one on another host, every third with a label, every fourth of a batch."""
    host = "a.test" if number % 2 else "b.test"
    return AcceptedFetch(
        id=new_fetch_id(),
        host=host,
        accepted_at=NOW,
        request=FetchRequest(url=f"http://{host}/{number}"),
        tenant=tenant,
        labels=("third", f"n:{number}") if number % 3 == 0 else (),
        batch_id=BATCH if number % 4 == 0 else None,
    )


@pytest.fixture
async def fetches(pool: Pool) -> list[AcceptedFetch]:
    """Twenty-four of the default tenant, the newest first, and as many of another one."""
    mine = [_fetch(number) for number in range(24)]
    theirs = [_fetch(number, tenant="other") for number in range(24)]
    await accept_events(pool, wrap_accepted(mine), wrap_accepted(theirs), now=at(0))
    return mine[::-1]


async def _claim(pool: Pool) -> set[UUID]:
    return {claimed.command.id for claimed in await claim_each(pool, limit=8, leased_limit=8, lease=LEASE, pace=PACE, now=at(0))}


async def _walk(pool: Pool, filters: Filters, *, limit: int = 5) -> list[UUID]:
    found: list[UUID] = []
    while page := await page_ids(pool, filters, limit=limit, before=found[-1] if found else None, now=at(1)):
        assert len(page) <= limit
        found += page
    return found


async def test_all_of_a_tenant_come_once_the_newest_first(pool: Pool, fetches: list[AcceptedFetch]) -> None:
    assert await _walk(pool, Filters(tenant="default")) == [fetch.id for fetch in fetches]


async def test_each_filter_and_all_together(pool: Pool, fetches: list[AcceptedFetch]) -> None:
    host = [fetch.id for fetch in fetches if fetch.host == "b.test"]
    label = [fetch.id for fetch in fetches if "third" in fetch.labels]
    batch = [fetch.id for fetch in fetches if fetch.batch_id == BATCH]
    assert await _walk(pool, Filters(tenant="default", host="b.test")) == host
    assert await _walk(pool, Filters(tenant="default", label="third")) == label
    assert await _walk(pool, Filters(tenant="default", batch_id=BATCH)) == batch
    both = [identifier for identifier in host if identifier in label and identifier in batch]
    assert both
    everything = Filters(tenant="default", host="b.test", label="third", batch_id=BATCH, status=FetchStatus.QUEUED)
    assert await _walk(pool, everything) == both
    for leading in ({"host": "b.test"}, {"label": "third"}):
        narrowed = Filters(tenant="default", batch_id=BATCH, **leading)  # type: ignore[arg-type]
        assert await _walk(pool, narrowed) == [i for i in batch if i in (host if "host" in leading else label)]
    assert await _walk(pool, Filters(tenant="default", host="b.test", label="third")) == [i for i in label if i in host]
    assert await _walk(pool, Filters(tenant="default", label="nobody's")) == []


async def test_by_status_a_fetch_is_where_its_reader_sees_it(pool: Pool, fetches: list[AcceptedFetch]) -> None:
    for fetch in fetches[:3]:
        await in_transaction(pool, lambda c, i=fetch.id: cancel_fetch(c, i, source="store/t", now=at(0)))  # type: ignore[misc]
    running = await _claim(pool)
    mine = [fetch.id for fetch in fetches]
    for narrow in ({}, {"host": "a.test"}, {"batch_id": BATCH}, {"label": "third"}):
        within = await _walk(pool, Filters(tenant="default", **narrow))  # type: ignore[arg-type]
        for status in FetchStatus:
            found = await _walk(pool, Filters(tenant="default", status=status, **narrow))  # type: ignore[arg-type]
            expected = {
                FetchStatus.CANCELLED: [i for i in within if i in mine[:3]],
                FetchStatus.RUNNING: [i for i in within if i in running],
                FetchStatus.QUEUED: [i for i in within if i not in mine[:3] and i not in running],
            }.get(status, [])
            assert found == expected, (narrow, status)


async def test_a_lease_that_ended_does_not_run(pool: Pool, fetches: list[AcceptedFetch]) -> None:
    assert await _claim(pool)
    for status, count in ((FetchStatus.RUNNING, 0), (FetchStatus.QUEUED, len(fetches))):
        page = await page_ids(pool, Filters(tenant="default", status=status), limit=100, before=None, now=at(10_000))
        assert len(page) == count
