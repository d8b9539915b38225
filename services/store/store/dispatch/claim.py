"""Lease due fetches at the pace of their hosts, and take leases back.

The claim is one transaction: lock hosts whose turn has come, lease what is due there, and say when to look at them next. Its
statements are apart because only a snapshot that is younger than the locks counts what others have leased on those hosts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.fetches import FetchRequest, PerformFetch, Validators

from store.database import Connection, Pool, fetch_rows, in_transaction
from store.fetches.freshness import validators_of
from store.hosts.pace import Host, PaceDefaults, delay_ms, held, let_go, max_in_flight
from store.hosts.rows import host_of_row, lock_hosts, settle_hosts
from store.queries import query

OPEN_HOSTS = query("hosts_open")
NEXT_LOOK = query("hosts_next_look")
CLAIM = query("queue_claim")
RELEASE = query("queue_release")
END_LEASES = query("queue_end_leases")
NOW = query("queue_now")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long claimed work is ours, and when we stop giving it out."""

    margin_seconds: float
    abandon_after_dispatches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One leased fetch: the command for it, how long it waited, and whether an earlier dispatch went unanswered."""

    command: PerformFetch
    waited_seconds: float
    is_redelivery: bool


async def claim(
    pool: Pool, *, limit: int, leased_limit: int, lease: Lease, pace: PaceDefaults, now: datetime | None
) -> list[Claimed]:
    """Lease at most `limit` due fetches so that at most `leased_limit` are leased in all. Raises DatabaseUnavailable.

    Committed before it returns: a crash afterwards is recovered when the leases end.
    """
    rows = await in_transaction(
        pool,
        lambda connection: _claim(connection, limit=limit, leased_limit=leased_limit, lease=lease, pace=pace, now=now),
    )
    return [_claimed(row) for row in rows]


async def next_look_seconds(pool: Pool, *, now: datetime | None) -> float | None:
    """In how many seconds a host may open; None while nothing is queued. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, NEXT_LOOK, now)
    return float(rows[0]["seconds"]) if rows else None


async def release(
    pool: Pool,
    *,
    tried: Sequence[PerformFetch],
    untried: Sequence[PerformFetch] = (),
    pace: PaceDefaults,
    now: datetime | None,
) -> None:
    """Take back dispatches that did not leave; they are due at once. Raises DatabaseUnavailable.

    Of those whose send was tried, what may be sent once only stays out, and a host with a delay stays held: nobody knows
    whether they left.
    """
    commands = [*tried, *untried]
    arguments = (
        [command.id for command in commands],
        [command.dispatch_seq for command in commands],
        [True] * len(tried) + [False] * len(untried),
    )

    async def work(connection: Connection) -> None:
        rows = await connection.fetch(RELEASE, *arguments, now)
        if not rows:
            return
        locked, at = await lock_hosts(connection, {row["host"] for row in rows}, now=now)
        hosts = dict(locked)
        for row in rows:
            if not row["was_tried"]:
                hosts[row["host"]] = let_go(
                    hosts[row["host"]], fetch_id=_uuid(row["id"]), dispatch_seq=row["dispatch_seq"], now=at
                )
        await settle_hosts(connection, hosts.values(), pace, had_turn=False, now=now)

    await in_transaction(pool, work)


async def end_leases(pool: Pool, *, pace: PaceDefaults, dispatched_before: datetime) -> None:
    """End the lease of everything dispatched up to then: its commands are gone. Raises DatabaseUnavailable.

    A host with a delay stays held for as long as the lease was: a worker may have taken the command before it was gone.
    """

    async def work(connection: Connection) -> None:
        names = {row["host"] for row in await connection.fetch(END_LEASES, dispatched_before)}
        if names:
            hosts, _ = await lock_hosts(connection, names, now=dispatched_before)
            await settle_hosts(connection, hosts.values(), pace, had_turn=False, now=dispatched_before)

    await in_transaction(pool, work)


async def postgres_now(pool: Pool) -> datetime:
    """Postgres's own time. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, NOW)
    now: datetime = rows[0]["now"]
    return now


async def _claim(
    connection: Connection, *, limit: int, leased_limit: int, lease: Lease, pace: PaceDefaults, now: datetime | None
) -> list[asyncpg.Record]:
    found = await connection.fetch(OPEN_HOSTS, limit, leased_limit, now)
    if not found:
        return []
    at, allowed = found[0]["now"], found[0]["allowed"]
    hosts = {row["host"]: host_of_row(row) for row in found}
    rows: list[asyncpg.Record] = await connection.fetch(
        CLAIM,
        list(hosts),
        [max_in_flight(host, pace) if host.is_open(at) else 0 for host in hosts.values()],
        lease.abandon_after_dispatches,
        lease.margin_seconds,
        now,
        allowed,
        [delay_ms(host, pace) for host in hosts.values()],
    )
    await settle_hosts(connection, _looked_at(hosts, rows, allowed=allowed, pace=pace), pace, had_turn=True, now=now)
    return rows


def _looked_at(
    hosts: Mapping[str, Host], rows: Sequence[asyncpg.Record], *, allowed: int, pace: PaceDefaults
) -> list[Host]:
    """The hosts that had their turn, as the claim leaves them. Those after the last that it got to keep their place."""
    after = dict(hosts)
    for row in rows:
        after[row["host"]] = held(
            after[row["host"]],
            pace,
            fetch_id=_uuid(row["id"]),
            dispatch_seq=row["dispatch_seq"],
            lease_ends_at=row["lease_ends_at"],
        )
    names = list(hosts)
    if len(rows) >= allowed:
        claimed = {row["host"] for row in rows}
        last = max(place for place, name in enumerate(names) if name in claimed)
        names = names[: last + 1]
    return [after[name] for name in names]


def _claimed(row: asyncpg.Record) -> Claimed:
    request = FetchRequest.model_validate_json(row["request"])
    command = PerformFetch(
        id=_uuid(row["id"]),
        dispatch_seq=row["dispatch_seq"],
        lease_ends_at=row["lease_ends_at"],
        traceparent=row["traceparent"],
        validators=_validators(row, request) if row["stored_id"] is not None else None,
        request=request,
    )
    return Claimed(command=command, waited_seconds=row["waited_seconds"], is_redelivery=row["unanswered"] > 1)


def _validators(row: asyncpg.Record, request: FetchRequest) -> Validators | None:
    """Those of the stored response, unless the fetch would not take a body of its size."""
    if (row["stored_bytes"] or 0) > request.max_bytes:
        return None
    return validators_of(_uuid(row["stored_id"]), json.loads(row["stored_headers"]))


def _uuid(value: UUID) -> UUID:
    """A plain UUID: asyncpg's own subclass does not serialise everywhere."""
    return UUID(int=value.int)
