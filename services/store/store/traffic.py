"""What the status page shows of the ledger and the queue. Every read is bounded, however long the queue is."""

from datetime import timedelta

import asyncpg
from common.contracts.fetches import ErrorType
from common.contracts.overview import BusyHost, Failure, Overview, TrafficSample

from store.database import Pool, fetch_rows
from store.dispatch.broker import BrokerState
from store.hosts.pace import PaceSettings
from store.hosts.view import COUNTED_OF_EACH, view_hosts
from store.queries import query

NOW = query("traffic_now")
SINCE = query("traffic_since")
HOSTS = query("traffic_hosts")
HOSTS_SAMPLED = query("traffic_hosts_sampled")
FAILURES = query("traffic_failures")
NAMED = query("hosts_named")
WINDOW = timedelta(minutes=61)
"""An hour of differences, and the minute that it starts from."""
SAMPLES_LIMIT = 62
HOSTS_SHOWN = 8
FAILURES_SHOWN = 10
COUNTED_FETCHES = 5000
"""Up to so many queued fetches are counted by host; of more about so many are looked at."""


async def read_traffic(pool: Pool) -> TrafficSample:
    """Totals and queue as they are. Raises DatabaseUnavailable."""
    return _sample((await fetch_rows(pool, NOW, None))[0])


async def read_overview(pool: Pool, pace: PaceSettings, fleet: BrokerState) -> Overview:
    """The deployment at a glance, one statement after another, so that it takes one connection. Raises DatabaseUnavailable."""
    now = await read_traffic(pool)
    samples = await fetch_rows(pool, SINCE, now.at - WINDOW, SAMPLES_LIMIT)
    hosts = await _busiest(pool, pace, pending=now.queued + now.running)
    failures = await fetch_rows(pool, FAILURES, FAILURES_SHOWN)
    return Overview(
        now=now,
        samples=[_sample(row) for row in samples],
        workers=fleet.workers,
        worker_slots=fleet.slots,
        hosts=hosts,
        failures=[_failure(row) for row in failures],
    )


async def _busiest(pool: Pool, pace: PaceSettings, *, pending: int) -> list[BusyHost]:
    is_guess = pending > COUNTED_FETCHES
    if is_guess:
        counted = await fetch_rows(pool, HOSTS_SAMPLED, HOSTS_SHOWN, 100 * COUNTED_FETCHES / pending)
    else:
        counted = await fetch_rows(pool, HOSTS, HOSTS_SHOWN, COUNTED_FETCHES)
    fetches = {row["host"]: row["fetches"] for row in counted}
    rows = [row for row in await fetch_rows(pool, NAMED, list(fetches), None) if row["host"] is not None]
    views = await view_hosts(pool, rows, pace, counted_up_to=COUNTED_OF_EACH, now=None)
    busy = [BusyHost(host=view, fetches=fetches[view.host], is_guess=is_guess) for view in views]
    return sorted(busy, key=lambda one: (-one.fetches, one.host.host))


def _sample(row: asyncpg.Record) -> TrafficSample:
    return TrafficSample(**{name: row[name] for name in TrafficSample.model_fields})


def _failure(row: asyncpg.Record) -> Failure:
    return Failure(
        id=row["id"],
        host=row["host"],
        tenant=row["tenant"],
        at=row["finished_at"],
        error=ErrorType(row["error_type"]),
        detail=row["error_detail"],
    )
