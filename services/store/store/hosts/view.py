"""Hosts as operators see them, from their rows and the queue."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from common.contracts.fetches import ErrorType, OutcomeKind
from common.contracts.hosts import (
    BreakerState,
    BreakerView,
    HostPage,
    HostState,
    HostView,
    OverrideView,
    RecentAttempt,
)

from store.database import Pool, fetch_rows
from store.hosts.pace import (
    Host,
    PaceSettings,
    Recent,
    breaker_state,
    lanes_out,
    opens_at,
    override_in_force,
    pace_in_force,
    state_in_force,
)
from store.hosts.rows import host_of_row
from store.queries import query

ONE = query("hosts_one")
PAGE = query("hosts_page")
PAGE_OPEN = query("hosts_page_open")
PAGE_CLOSED = query("hosts_page_closed")
LOAD = query("hosts_load")
COUNTED_OF_ONE = 10_000
COUNTED_OF_EACH = 1000
"""In a list. A host may have any number of fetches, and nobody waits for all of them to be counted."""


async def read_host(pool: Pool, name: str, settings: PaceSettings, *, now: datetime | None = None) -> HostView | None:
    """The host, or None when nobody ever asked for it. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, ONE, name, now)
    views = await view_hosts(pool, rows, settings, counted_up_to=COUNTED_OF_ONE, now=now)
    return views[0] if views else None


async def read_hosts(
    pool: Pool, settings: PaceSettings, *, limit: int, after: str, state: HostState | None, now: datetime | None = None
) -> HostPage:
    """At most `limit` hosts in the order of their names; with `state` those that are so now. Raises DatabaseUnavailable."""
    if state is None:
        rows = await fetch_rows(pool, PAGE, after, limit + 1, now)
    elif state is HostState.OPEN:
        rows = await fetch_rows(pool, PAGE_OPEN, after, limit + 1, now)
    else:
        rows = await fetch_rows(pool, PAGE_CLOSED, after, limit + 1, now, state.value)
    page = rows[:limit]
    items = await view_hosts(pool, page, settings, counted_up_to=COUNTED_OF_EACH, now=now)
    return HostPage(items=items, next_cursor=page[-1]["host"] if len(rows) > limit else None)


async def view_hosts(
    pool: Pool, rows: Sequence[asyncpg.Record], settings: PaceSettings, *, counted_up_to: int, now: datetime | None
) -> list[HostView]:
    """These rows as operators see them, in their order."""
    if not rows:
        return []
    loads = {load["host"]: load for load in await fetch_rows(pool, LOAD, [row["host"] for row in rows], counted_up_to, now)}
    return [_view(host_of_row(row), loads[row["host"]], settings, counted_up_to, now=row["now"]) for row in rows]


def _view(host: Host, load: asyncpg.Record, settings: PaceSettings, counted_up_to: int, *, now: datetime) -> HostView:
    opens = opens_at(host._replace(lanes=()), settings, now=now)
    in_flight = max(load["leased"], len(lanes_out(host, now=now)))  # what was cancelled is still out, and in no queue
    return HostView(
        host=host.host,
        state=state_in_force(host, now=now),
        pace=pace_in_force(host, settings, now=now),
        backlog=load["waiting"],
        in_flight=min(in_flight, counted_up_to),
        counted_up_to=counted_up_to,
        next_slot_at=opens if opens > now else None,
        crawl_delay_seconds=host.crawl_delay_ms / 1000 if host.crawl_delay_ms is not None else None,
        slowed_down_at=host.slowed_at,
        breaker=_breaker(host, now=now),
        override=_override(host, now=now),
        recent=[_recent(recent) for recent in host.recent],
    )


def _breaker(host: Host, *, now: datetime) -> BreakerView:
    state = breaker_state(host, now=now)
    return BreakerView(state=state, failures=host.failures, until=host.broken_until if state is BreakerState.OPEN else None)


def _override(host: Host, *, now: datetime) -> OverrideView | None:
    override = override_in_force(host, now=now)
    if override is None:
        return None
    return OverrideView(
        state=override.state,
        delay_ms=override.delay_ms,
        max_in_flight=override.max_in_flight,
        reason=override.reason,
        actor=override.actor,
        expires_at=override.until,
    )


def _recent(recent: Recent) -> RecentAttempt:
    return RecentAttempt(
        at=datetime.fromisoformat(recent.at),
        outcome=OutcomeKind(recent.outcome),
        status=recent.status,
        error=ErrorType(recent.error) if recent.error is not None else None,
        seconds=recent.seconds,
    )
