"""Take accepted fetches into the ledger and the queue: the first door. Idempotent by fetch id."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted

from store.database import Connection
from store.fetches.finish import Finished, finish_fetches
from store.fetches.reuse import Asker, plan_reuse
from store.fetches.sharing import Sharing, sharing_of
from store.hosts.rows import expect_work
from store.queries import query

ACCEPT = query("fetches_accept")
CLOCK_MARGIN_SECONDS = 60.0
"""How far the clock of a gateway, which says when a fetch was accepted, may be ahead of Postgres's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """How many fetches were new to the ledger, and which of them stored responses answered at once."""

    count: int
    finished: Finished = field(default_factory=Finished)


async def accept(
    connection: Connection,
    events: Sequence[Envelope[FetchesAccepted]],
    *,
    source: str,
    coalesce_wait_seconds: float,
    priority_step_seconds: float,
    now: datetime | None,
) -> Accepted:
    """Insert every fetch not yet known, in the caller's transaction. `now` None is Postgres's.

    One that accepts an older response is finished from a stored one, or waits for an equal pending one, at most
    `coalesce_wait_seconds`, if there is either.
    """
    fetches = {fetch.id: (fetch, event.traceparent) for event in events for fetch in event.data.fetches}
    rows = [fetches[identifier] for identifier in sorted(fetches)]  # one order for all, so that two stores cannot deadlock
    sharings = [sharing_of(fetch.request) for fetch, _ in rows]
    askers = [asker for (fetch, _), sharing in zip(rows, sharings, strict=True) if (asker := _asker(fetch, sharing))]
    plan = await plan_reuse(connection, askers, now=now)
    accepted = await connection.fetchval(
        ACCEPT,
        [fetch.id for fetch, _ in rows],
        [fetch.host for fetch, _ in rows],
        [fetch.request.model_dump_json() for fetch, _ in rows],
        [traceparent for _, traceparent in rows],
        [fetch.accepted_at for fetch, _ in rows],
        [fetch.request.timeout_seconds for fetch, _ in rows],
        [fetch.request.delay_seconds for fetch, _ in rows],
        [fetch.request.not_before for fetch, _ in rows],
        [fetch.request.expires_at for fetch, _ in rows],
        [fetch.request.priority for fetch, _ in rows],
        [not fetch.request.is_idempotent for fetch, _ in rows],
        [sharing.sharing_key if sharing else None for sharing in sharings],
        [sharing.coalesce_key if sharing else None for sharing in sharings],
        [plan.leaders.get(fetch.id) for fetch, _ in rows],
        coalesce_wait_seconds,
        priority_step_seconds,
        now,
    )
    finished = await finish_fetches(connection, plan.finishes, source=source, now=now)
    due = [fetch for fetch, _ in rows if fetch.id not in plan.leaders]
    delays_seconds = [_delay_seconds(fetch) for fetch in due]
    await expect_work(connection, [fetch.host for fetch in due], delays_seconds, now=now)
    return Accepted(count=int(accepted), finished=finished)


def _delay_seconds(fetch: AcceptedFetch) -> float:
    """How long after its acceptance a fetch is due; the claim may look earlier, and never looks later."""
    not_before = fetch.request.not_before
    wanted = (not_before - fetch.accepted_at).total_seconds() - CLOCK_MARGIN_SECONDS if not_before is not None else 0.0
    return max(fetch.request.delay_seconds, wanted, 0.0)


def _asker(fetch: AcceptedFetch, sharing: Sharing | None) -> Asker | None:
    """The fetch as one that stored or pending others may answer now; None when it wants an exchange, or wants it later."""
    request = fetch.request
    if sharing is None or sharing.coalesce_key is None or request.max_age_seconds is None:
        return None
    if request.delay_seconds > 0 or request.not_before is not None:
        return None
    return Asker(
        id=fetch.id,
        sharing_key=sharing.sharing_key,
        coalesce_key=sharing.coalesce_key,
        max_age_seconds=request.max_age_seconds,
        max_bytes=request.max_bytes,
    )
