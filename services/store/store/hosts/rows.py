"""Rows of `hosts`: locked in order of their names, written whole. A transaction does this last; only the claim does it first."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import asyncpg
from common.contracts.hosts import HostState

from store.database import Connection
from store.hosts.pace import Host, Lane, Override, PaceSettings, Recent, opens_at
from store.queries import query

LOCK = query("hosts_lock")
EXPECT = query("hosts_expect")
SETTLE = query("hosts_settle")


async def lock_hosts(
    connection: Connection, names: Collection[str], *, now: datetime | None
) -> tuple[Mapping[str, Host], datetime]:
    """These hosts, locked until the transaction ends, and the time in force. Rows that are not there yet are made."""
    wanted = sorted(names)
    rows = await connection.fetch(LOCK, wanted, now)
    if len(rows) < len(wanted):
        await expect_work(connection, wanted, now=now)
        rows = await connection.fetch(LOCK, wanted, now)
    return {row["host"]: host_of_row(row) for row in rows}, rows[0]["now"]


async def expect_work(
    connection: Connection, names: Sequence[str], delays_seconds: Sequence[float] | None = None, *, now: datetime | None
) -> None:
    """Have the claim look at these hosts no later than that; makes their rows."""
    if names:
        await connection.execute(EXPECT, list(names), list(delays_seconds or [0.0] * len(names)), now)


async def settle_hosts(
    connection: Connection,
    hosts: Iterable[Host],
    settings: PaceSettings,
    *,
    had_turn: bool,
    at: datetime,
    now: datetime | None,
) -> None:
    """Write locked hosts, and from their queue rows when the claim looks at each next. `at` is the time in force."""
    rows = [
        (
            host.host,
            host.crawl_delay_ms,
            host.next_slot_at,
            json.dumps([[lane.token, lane.ends_at.isoformat()] for lane in host.lanes]),
            host.paused_until,
            host.slowed_at,
            host.slowdowns,
            host.failures,
            host.broken_until,
            host.response_ms,
            host.last_started_at,
            host.last_ended_at,
            host.last_delay_ms,
            json.dumps([recent.as_json() for recent in host.recent]),
            opens_at(host, settings, now=at),
        )
        for host in hosts
    ]
    if rows:
        await connection.execute(SETTLE, *(list(column) for column in zip(*rows, strict=True)), now, had_turn)


def host_of_row(row: asyncpg.Record) -> Host:
    """A row of `hosts` as a value."""
    return Host(
        host=row["host"],
        crawl_delay_ms=row["crawl_delay_ms"],
        next_slot_at=row["next_slot_at"],
        lanes=tuple(
            Lane(token=token, ends_at=datetime.fromisoformat(ends_at)) for token, ends_at in json.loads(row["lanes"])
        ),
        paused_until=row["paused_until"],
        slowed_at=row["slowed_at"],
        slowdowns=row["slowdowns"],
        failures=row["failures"],
        broken_until=row["broken_until"],
        response_ms=row["response_ms"],
        last_started_at=row["last_started_at"],
        last_ended_at=row["last_ended_at"],
        last_delay_ms=row["last_delay_ms"],
        recent=tuple(Recent(**recent) for recent in json.loads(row["recent"])),
        override=_override_of(row),
    )


def _override_of(row: asyncpg.Record) -> Override | None:
    if row["override_until"] is None:
        return None
    return Override(
        state=HostState(row["override_state"]) if row["override_state"] else HostState.OPEN,
        delay_ms=row["override_delay_ms"],
        max_in_flight=row["override_max_in_flight"],
        reason=row["override_reason"],
        actor=row["override_by"],
        until=row["override_until"],
    )
