"""Find what was promised wherever it is: in the ledger, or on its way into it (P6)."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

from common.contracts.batches import AcceptedBatch, BatchCounts, BatchView
from common.contracts.fetches import AcceptedFetch, FetchStatus
from common.contracts.views import FetchView, Waiting, WaitingReason

from gateway.dependencies import Means
from gateway.errors import EventsUnavailable, StoreUnavailable
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType

View = TypeVar("View")


async def find_fetch(fetch_id: UUID, means: Means, principal: Principal) -> FetchView:
    """The caller's fetch, wherever it is. Raises Problem when there is none, and StoreUnavailable when that cannot be told."""

    async def promised() -> FetchView | None:
        fetch = await means.publisher.find(fetch_id, tenant=principal.tenant)
        return queued_view(fetch) if fetch is not None else None

    read = partial(means.store.read_fetch, fetch_id, tenant=principal.tenant)
    return await _look_up(read, promised, absent="No fetch has this id.")


async def find_batch(batch_id: UUID, means: Means, principal: Principal) -> BatchView:
    """The caller's batch, wherever it is. Raises Problem when there is none, and StoreUnavailable when that cannot be told."""

    async def promised() -> BatchView | None:
        batch = await means.publisher.find_batch(batch_id, tenant=principal.tenant)
        return _queued(batch) if batch is not None else None

    read = partial(means.store.read_batch, batch_id, tenant=principal.tenant)
    return await _look_up(read, promised, absent="No batch has this id.")


def queued_view(fetch: AcceptedFetch) -> FetchView:
    """A promise as a reader sees it before it is in the ledger."""
    return FetchView(
        id=fetch.id,
        url=fetch.request.url,
        method=fetch.request.method,
        at_most_once=not fetch.request.is_idempotent,
        status=FetchStatus.QUEUED,
        priority=fetch.request.priority,
        created_at=fetch.accepted_at,
        expires_at=fetch.request.expires_at,
        waiting=Waiting(reason=WaitingReason.QUEUE),
        batch_id=fetch.batch_id,
        labels=list(fetch.labels),
        attrs=fetch.attrs,
    )


async def _look_up(
    read: Callable[[], Awaitable[View | None]], promised: Callable[[], Awaitable[View | None]], *, absent: str
) -> View:
    """What the ledger has, or what was promised and has not reached it yet; where there is neither, the problem `absent`.

    A promise leaves Redis only after it is in the ledger, so one that is in neither at first is in the ledger by now. Raises
    StoreUnavailable when the store is away and nothing was promised, and when the events Redis is: the ledger alone cannot tell.
    """
    try:
        try:
            view = await read()
        except StoreUnavailable:
            found = await promised()
            if found is None:
                raise
            return found
        view = view or await promised() or await read()
    except EventsUnavailable as error:
        raise StoreUnavailable("the events Redis cannot be asked what was promised") from error
    if view is None:
        raise Problem(ProblemType.NOT_FOUND, absent)
    return view


def _queued(batch: AcceptedBatch) -> BatchView:
    return BatchView(
        id=batch.id,
        created_at=batch.accepted_at,
        total=batch.accepted,
        rejected=batch.rejected,
        is_whole=batch.is_whole,
        counts=BatchCounts(queued=batch.accepted),
        finished=batch.accepted == 0,
        errors=list(batch.errors),
    )
