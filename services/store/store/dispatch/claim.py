"""Lease due fetches at the pace of their hosts, and take leases back.

The claim is one transaction: lock hosts whose turn has come, lease what is due there, and say when to look at them next. Its
statements are apart because only a snapshot that is younger than the locks counts what others have leased on those hosts.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from uuid import UUID

import asyncpg
from common.contracts.fetches import FetchRequest, PerformFetch, Train, Validators

from store.database import Connection, Pool, fetch_rows, in_transaction
from store.fetches.freshness import validators_of
from store.hosts.changes import dispatched, taken_back, wiped
from store.hosts.pace import (
    Host,
    Lane,
    PaceSettings,
    brief_train_fetches,
    delay_ms,
    free_lanes,
    let_go_at,
    token_of,
    train_fetches,
)
from store.hosts.rows import host_of_row, lock_hosts, settle_hosts
from store.queries import query

OPEN_HOSTS = query("hosts_open")
NEXT_LOOK = query("hosts_next_look")
CLAIM = query("queue_claim")
RELEASE = query("queue_release")
END_LEASES = query("queue_end_leases")
NOW = query("queue_now")
SUSPECTS_LOCK_KEY = 0x73757370  # "susp"
HOP_WAITS = 2
"""How often an attempt may wait for its host's delay by itself: after robots.txt, and before a redirect's hop on the host."""
HOP_WAIT_LIMIT_SECONDS = 300.0
TRAIN_SLACK = 1.5
"""How much longer than planned a train may take: its length is what was usual lately, and giving fetches back costs more."""

TRAINS_BESIDE = 4
"""Into no fewer trains than this are a host's fetches packed: one answer that is late holds up a part of them only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long claimed work is ours, and when we stop giving it out."""

    margin_seconds: float
    abandon_after_dispatches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """How much one claim takes, how many slots all trains together may hold, and how many fetches may be out in all."""

    claim_fetches: int
    slots: int
    leased_fetches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One leased fetch: the command for it, how long it waited, and whether an earlier dispatch went unanswered.

    `is_last` when this is the last of several dispatches: should it go unanswered too, there is no other.
    `late_seconds` is how much of that wait was ours: for so long its host's turn had come.
    """

    command: PerformFetch
    waited_seconds: float
    late_seconds: float
    is_redelivery: bool
    is_last: bool


async def claim(
    pool: Pool, *, limits: ClaimLimits, lease: Lease, pace: PaceSettings, trains: bool = True, now: datetime | None
) -> list[list[Claimed]]:
    """Lease due fetches, in trains, within the limits. Without `trains` each has one fetch. Raises DatabaseUnavailable.

    Committed before it returns: a crash afterwards is recovered when the leases end.
    """

    async def work(connection: Connection) -> list[list[Claimed]]:
        return await _claim(connection, limits=limits, lease=lease, pace=pace, trains=trains, now=now)

    return await in_transaction(pool, work)


async def next_look_seconds(pool: Pool, *, now: datetime | None) -> float | None:
    """In how many seconds a host may open; None while nothing is queued. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, NEXT_LOOK, now)
    return float(rows[0]["seconds"]) if rows else None


async def release(
    pool: Pool,
    *,
    tried: Sequence[PerformFetch],
    untried: Sequence[PerformFetch] = (),
    pace: PaceSettings,
    now: datetime | None,
) -> None:
    """Take back dispatches that did not leave; they are due at once. Raises DatabaseUnavailable.

    Of those whose send was tried, what may be sent once only stays out, and a host with a delay stays closed: nobody knows
    whether they left.
    """
    commands = [*tried, *untried]
    arguments = (
        [command.id for command in commands],
        [command.dispatch_seq for command in commands],
        [True] * len(tried) + [False] * len(untried),
    )
    tokens = frozenset(token_of(command.id, command.dispatch_seq) for command in commands)

    async def work(connection: Connection) -> None:
        rows = await connection.fetch(RELEASE, *arguments, now)
        if not rows:
            return
        hosts, at = await lock_hosts(connection, {row["host"] for row in rows}, now=now)
        was_tried = {row["host"] for row in rows if row["was_tried"]}
        after = [taken_back(host, pace, tokens, was_tried=name in was_tried, now=at) for name, host in hosts.items()]
        await settle_hosts(connection, after, pace, had_turn=False, at=at, now=now)

    await in_transaction(pool, work)


async def end_leases(pool: Pool, *, pace: PaceSettings, dispatched_before: datetime) -> None:
    """End the lease of everything dispatched up to then: its commands are gone. Raises DatabaseUnavailable.

    A host with a delay stays closed for as long as the lease was: a worker may have taken the command before it was gone.
    """

    async def work(connection: Connection) -> None:
        names = {row["host"] for row in await connection.fetch(END_LEASES, dispatched_before)}
        if names:
            hosts, at = await lock_hosts(connection, names, now=dispatched_before)
            after = [wiped(host, pace, now=at) for host in hosts.values()]
            await settle_hosts(connection, after, pace, had_turn=False, at=at, now=dispatched_before)

    await in_transaction(pool, work)


async def postgres_now(pool: Pool) -> datetime:
    """Postgres's own time. Raises DatabaseUnavailable."""
    rows = await fetch_rows(pool, NOW)
    now: datetime = rows[0]["now"]
    return now


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one host may be given in one claim: so many trains of so many fetches."""

    trains: int
    cars: int


async def _claim(
    connection: Connection, *, limits: ClaimLimits, lease: Lease, pace: PaceSettings, trains: bool, now: datetime | None
) -> list[list[Claimed]]:
    found = await connection.fetch(
        OPEN_HOSTS, limits.claim_fetches, limits.slots, now, limits.leased_fetches, SUSPECTS_LOCK_KEY
    )
    if not found:
        return []
    at, allowed = found[0]["now"], found[0]["allowed"]
    hosts = {row["host"]: host_of_row(row) for row in found}
    shares = _share_out(hosts, slots=found[0]["slots"], fetches=allowed, pace=pace, trains=trains, now=at)
    delays_ms = [delay_ms(host, pace, now=at) for host in hosts.values()]
    rows: list[asyncpg.Record] = await connection.fetch(
        CLAIM,
        list(hosts),
        [share.trains for share in shares.values()],
        [share.cars for share in shares.values()],
        delays_ms,
        allowed,
        [_train_seconds(share.cars, delay, pace) for share, delay in zip(shares.values(), delays_ms, strict=True)],
        lease.abandon_after_dispatches,
        lease.margin_seconds,
        now,
        found[0]["with_suspects"],
    )
    of_host: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        of_host.setdefault(row["host"], []).append(row)
    made = {name: _trains(of_host.get(name, []), share.trains) for name, share in shares.items()}
    turns = {row["host"]: max(row["look_at"], let_go_at(hosts[row["host"]]) or row["look_at"]) for row in found}
    after = {name: _after(host, made[name], pace, now=at) for name, host in hosts.items()}
    had_turn = _had_turn(list(hosts), of_host, is_full=len(rows) >= allowed)
    await settle_hosts(connection, [after[name] for name in had_turn], pace, had_turn=True, at=at, now=now)
    return [
        _claimed(
            train,
            seconds=pace.train_seconds * TRAIN_SLACK,
            delay_ms=delay,
            late_seconds=_late_seconds(turns[name], train, now=at),
            dispatches=lease.abandon_after_dispatches,
        )
        for (name, trains_of_host), delay in zip(made.items(), delays_ms, strict=True)
        for train in trains_of_host
    ]


def _share_out(
    hosts: Mapping[str, Host], *, slots: int, fetches: int, pace: PaceSettings, trains: bool, now: datetime
) -> dict[str, _Share]:
    """How much of one claim each host may have: a train each first, then more trains, and longer ones where there is room."""
    free = {name: free_lanes(host, pace, now=now) for name, host in hosts.items()}
    spare = slots - sum(1 for lanes in free.values() if lanes)
    given: dict[str, int] = {}
    for name, lanes in free.items():
        given[name] = min(lanes, 1 + max(0, spare))
        spare -= max(0, given[name] - 1)
    if not trains:
        return {name: _Share(trains=lanes, cars=1) for name, lanes in given.items()}
    cars_each = ceil(fetches / max(1, sum(given.values())))
    return {name: _packed(host, given[name], cars_each, pace=pace, now=now) for name, host in hosts.items()}


def _packed(host: Host, lanes: int, cars_each: int, *, pace: PaceSettings, now: datetime) -> _Share:
    """So many fetches in no more trains than it takes to have them soon: each train wants a connection of its own."""
    cars = min(train_fetches(host, pace, now=now), cars_each)
    packed = max(cars, min(ceil(lanes * cars / TRAINS_BESIDE), brief_train_fetches(host, pace, now=now)))
    return _Share(trains=ceil(lanes * cars / packed), cars=packed)


def _train_seconds(cars: int, delay: int, pace: PaceSettings) -> float:
    """What a train adds to the lease of each of its fetches: none starts later than that after the first, and hops wait too."""
    hops_seconds = HOP_WAITS * min(delay / 1000, HOP_WAIT_LIMIT_SECONDS)
    return pace.train_seconds * TRAIN_SLACK + hops_seconds if cars > 1 else hops_seconds


def _trains(rows: Sequence[asyncpg.Record], trains: int) -> list[Sequence[asyncpg.Record]]:
    """A host's fetches as trains, which take turns at its line. The statement says which are the last of each."""
    return [train for first in range(trains) if (train := rows[first::trains])]


def _after(host: Host, trains: Sequence[Sequence[asyncpg.Record]], pace: PaceSettings, *, now: datetime) -> Host:
    """The host with its new trains on their way."""
    lanes = [
        Lane(
            token=token_of(train[-1]["id"], train[-1]["dispatch_seq"]), ends_at=max(row["lease_ends_at"] for row in train)
        )
        for train in trains
    ]
    return dispatched(host, pace, lanes, now=now) if lanes else host


def _had_turn(names: Sequence[str], claimed: Collection[str], *, is_full: bool) -> Sequence[str]:
    """The hosts that had their turn. When the claim was full, those after the last that it got to keep their place."""
    if not is_full:
        return names
    last = max(place for place, name in enumerate(names) if name in claimed)
    return names[: last + 1]


def _late_seconds(turn_at: datetime, train: Sequence[asyncpg.Record], *, now: datetime) -> float:
    """How late its host's turn was: it had come, and something of this train was due.

    At most so much. While all slots are taken nobody looks at a host, nor sees that its own lanes were all out for a while.
    """
    waited_seconds: float = max(row["waited_seconds"] for row in train)
    return max(0.0, min((now - turn_at).total_seconds(), waited_seconds))


def _claimed(
    rows: Sequence[asyncpg.Record], *, seconds: float, delay_ms: int, late_seconds: float, dispatches: int
) -> list[Claimed]:
    """One train as commands."""
    ids = [_uuid(row["id"]) for row in rows]
    train = Train(id=ids[-1], seconds=seconds, delay_seconds=delay_ms / 1000)
    claimed = []
    for fetch_id, row in zip(ids, rows, strict=True):
        request = FetchRequest.model_validate_json(row["request"])
        command = PerformFetch(
            id=fetch_id,
            dispatch_seq=row["dispatch_seq"],
            lease_ends_at=row["lease_ends_at"],
            traceparent=row["traceparent"],
            validators=_validators(row, request) if row["stored_id"] is not None else None,
            train=train,
            request=request,
        )
        claimed.append(
            Claimed(
                command=command,
                waited_seconds=row["waited_seconds"],
                late_seconds=late_seconds,
                is_redelivery=row["unanswered"] > 1,
                is_last=row["unanswered"] >= max(2, dispatches),
            )
        )
    return claimed


def _validators(row: asyncpg.Record, request: FetchRequest) -> Validators | None:
    """Those of the stored response, unless the fetch would not take a body of its size."""
    if (row["stored_bytes"] or 0) > request.max_bytes:
        return None
    return validators_of(_uuid(row["stored_id"]), json.loads(row["stored_headers"]))


def _uuid(value: UUID) -> UUID:
    """A plain UUID: asyncpg's own subclass does not serialise everywhere."""
    return UUID(int=value.int)
