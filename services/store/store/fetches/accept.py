"""Take accepted fetches into the ledger and the queue: the first door. Idempotent by fetch id."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted

from store.batches.keep import keep_batches
from store.columns import IN_ORDER, columns
from store.database import Connection
from store.fetches.finish import Finished, finish_fetches
from store.fetches.reuse import Asker, plan_reuse
from store.fetches.sharing import Sharing, sharing_of
from store.queries import query

ACCEPT = query("fetches_accept")
ENQUEUE = query("queue_enqueue")

NO_TRACES: Mapping[UUID, str] = MappingProxyType({})


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
    traceparents: Mapping[UUID, str] = NO_TRACES,
) -> Accepted:
    """Insert every fetch not yet known, in the caller's transaction. `now` None is Postgres's.

    One that accepts an older response is finished from a stored one, or waits for an equal pending one, at most
    `coalesce_wait_seconds`, if there is either. `traceparents` are of fetches whose trace goes on behind a span of ours.
    """
    fetches = {
        fetch.id: (fetch, traceparents.get(fetch.id, event.traceparent)) for event in events for fetch in event.data.fetches
    }
    in_order = sorted(fetches, key=IN_ORDER)  # one order for all, so that two stores cannot deadlock
    rows = [fetches[identifier] for identifier in in_order]
    sharings = [sharing_of(fetch.request, tenant=fetch.tenant) for fetch, _ in rows]
    askers = [asker for (fetch, _), sharing in zip(rows, sharings, strict=True) if (asker := _asker(fetch, sharing))]
    plan = await plan_reuse(connection, askers, now=now)
    accepted = (
        await connection.fetch(ACCEPT, *columns([_row(fetch, traceparent) for fetch, traceparent in rows]), now) if rows else []
    )
    await keep_batches(connection, [event.data.batch for event in events if event.data.batch is not None])
    finished = await finish_fetches(connection, plan.finishes, source=source, now=now)
    pending = {row["id"] for row in accepted} - {finish.id for finish in plan.finishes}
    queued = [
        (fetch, sharing) for (fetch, _), sharing in zip(rows, sharings, strict=True) if fetch.id in pending
    ]
    if queued:
        waiting = [_queue_row(fetch, sharing, plan.leaders.get(fetch.id)) for fetch, sharing in queued]
        await connection.execute(ENQUEUE, *columns(waiting), coalesce_wait_seconds, priority_step_seconds, now)
    return Accepted(count=len(accepted), finished=finished)


def _row(fetch: AcceptedFetch, traceparent: str | None) -> tuple[object, ...]:
    return (
        fetch.id,
        fetch.host,
        fetch.request.model_dump_json(),
        traceparent,
        fetch.accepted_at,
        fetch.tenant,
        fetch.key_id,
        fetch.batch_id,
        ",".join(fetch.labels) or None,
        json.dumps(fetch.attrs) if fetch.attrs else None,
    )


def _queue_row(fetch: AcceptedFetch, sharing: Sharing | None, leader_id: UUID | None) -> tuple[object, ...]:
    request = fetch.request
    return (
        fetch.id,
        fetch.host,
        request.timeout_seconds,
        request.delay_seconds,
        request.not_before,
        request.expires_at,
        request.priority,
        not request.is_idempotent,
        sharing.sharing_key if sharing else None,
        sharing.coalesce_key if sharing else None,
        leader_id,
    )


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
