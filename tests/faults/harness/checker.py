"""The checker: what must hold after every fault, each breach as a sentence. It asks the servers directly, not the product.

I1 every journaled 202 is terminal · I2 one result each, announced once and on the feed, and the body kept is one that the
origin served for it · I3 what is terminal never changes · I4 nothing is left in any queue · I5 no more requests than
dispatches and what the case allows, and one at most of what may be sent once only · I6 no 202 while the events Redis could
not write · I7 what entered equals what ended · I9 limits of memory and connections kept.
I8, the throughput afterwards, is measured by `harness.recovery` where a case asks for it.
I9 looks at what a process holds, and at its peak.
"""

import asyncio
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import zstandard
from common.contracts.catalog import FETCH_FINISHED
from common.contracts.fetches import IDEMPOTENT_METHODS
from common.streams.names import (
    ACCEPTED_STREAM,
    ATTEMPTED_STREAM,
    COMMAND_QUEUE,
    EVENT_FIELD,
    FEED_STREAM,
    INGESTING_HASH,
    STORE_GROUP,
)
from redis.asyncio import Redis
from redis.exceptions import RedisError

from harness.cluster import Cluster
from harness.load import Load
from harness.unacked import UNACKED, unacked

QUIET_TIMEOUT_SECONDS = 60
LOOK_SECONDS = 0.25
RSS_LIMIT_BYTES = 300 * 1024 * 1024
PEAK_LIMIT_BYTES = 512 * 1024 * 1024
"""Beyond it gateway and store end in our manifests (deploy/kubernetes); a fetcher may have twice as much there, not here."""
CONNECTIONS_OF_A_STORE = 12
OTHER_CONNECTIONS = 6
LAG_LIMIT = 1000
PAGE_ENTRIES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fetch in the ledger."""

    id: str
    token: str
    method: str
    status: str
    error_type: str | None
    digest: str | None


@dataclass(slots=True, kw_only=True)
class Findings:
    """What the checker saw: the breaches, and figures for reports."""

    breaches: list[str] = field(default_factory=list)
    accepted: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    redispatched: int = 0
    rows: Mapping[str, Row] = field(default_factory=dict)
    """By id."""

    def names(self) -> set[str]:
        """The invariants that are broken, such as {"I1"}."""
        return {breach.partition(":")[0] for breach in self.breaches}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a case may do to the figures without a breach.

    `extra_hits` requests of one fetch beyond its dispatches; `no_promise_windows` are stretches of time.time in which nothing may
    have been promised; `keys_may_be_forgotten` where the records of Idempotency-Keys were wiped, so that one URL may have two
    fetches; `feed_may_be_lost` where the feed was wiped; `dead_letters` so many parked messages; `void_commands` so many messages
    that Celery holds for killed workers, all of whose leases have ended; `may_be_lost` are ids of promises that a wipe may have
    taken along.
    """

    extra_hits: int = 0
    no_promise_windows: Sequence[tuple[float, float]] = ()
    keys_may_be_forgotten: bool = False
    feed_may_be_lost: bool = False
    dead_letters: int = 0
    void_commands: int = 0
    may_be_lost: frozenset[str] = frozenset()


async def check(
    cluster: Cluster, *loads: Load, allow: Allowance | None = None, quiet_seconds: float = QUIET_TIMEOUT_SECONDS
) -> Findings:
    """Wait until nothing is under way, as long as `quiet_seconds` at most, and look at everything."""
    findings, allow = Findings(), allow or Allowance()
    left = await _wait_quiet(cluster, loads, allow, seconds=quiet_seconds)
    findings.breaches += [f"I4: {name} still holds {count}" for name, count in left.items() if count]
    async with cluster.database() as connection:
        findings.rows = await _rows(connection)
        findings.breaches += await _once_and_for_good(connection)
        findings.breaches += await _bodies(connection)
        findings.breaches += await _conservation(connection)
        if not allow.feed_may_be_lost:
            findings.breaches += await _feed(cluster, findings.rows)
        dispatches = await _dispatches(connection)
        parked = await connection.fetchval("SELECT count(*) FROM dead_letters")
        if parked > allow.dead_letters:
            findings.breaches.append(f"I1: {parked} messages were parked, {allow.dead_letters} expected")
    _promises(findings, loads, allow)
    _results(findings, cluster, allow)
    _over_fetching(findings, cluster, dispatches, allow)
    findings.breaches += await _limits(cluster)
    return findings


async def assert_kept(
    cluster: Cluster, *loads: Load, allow: Allowance | None = None, quiet_seconds: float = QUIET_TIMEOUT_SECONDS
) -> Findings:
    """`check`, and no breach at all."""
    findings = await check(cluster, *loads, allow=allow, quiet_seconds=quiet_seconds)
    assert not findings.breaches, "\n".join(findings.breaches[:20])
    return findings


async def _wait_quiet(cluster: Cluster, loads: Sequence[Load], allow: Allowance, *, seconds: float) -> Mapping[str, int]:
    """What is left in each queue, once that is nothing or the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    left: Mapping[str, int] = {"everything": 1}
    promised = {promise.id for load in loads for promise in load.journal.promises()} - allow.may_be_lost
    while True:
        try:
            left = await _left(cluster, promised, allow)
        except (OSError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError):
            left = {"a server that does not answer": 1}
        if not any(left.values()) or loop.time() >= deadline:
            return left
        await asyncio.sleep(LOOK_SECONDS)


async def _left(cluster: Cluster, promised: set[str], allow: Allowance) -> Mapping[str, int]:
    left: dict[str, int] = {}
    async with cluster.redis("events") as events, cluster.redis("broker") as broker, cluster.database() as connection:
        for stream in (ACCEPTED_STREAM, ATTEMPTED_STREAM):
            left[stream] = 0
            for group in await events.xinfo_groups(stream) if await events.exists(stream) else []:
                if group["name"] in (STORE_GROUP, STORE_GROUP.encode()):
                    left[stream] = int(group["pending"]) + await _lag(events, stream, group)
        left[INGESTING_HASH] = int(await events.hlen(INGESTING_HASH))
        left[COMMAND_QUEUE] = int(await broker.llen(COMMAND_QUEUE))
        live, void = await unacked(broker)
        left[UNACKED] = live + max(0, void - allow.void_commands)
        left["fetch_queue"] = await connection.fetchval("SELECT count(*) FROM fetch_queue")
        left["outbox"] = await connection.fetchval("SELECT count(*) FROM outbox")
        known = await connection.fetchval(
            "SELECT count(*) FROM fetches WHERE id = ANY($1::uuid[])", list(promised)
        )
        left["promises not in the ledger"] = len(promised) - known
    return left


async def _lag(events: Redis, stream: str, group: Mapping[str, Any]) -> int:
    """How many entries the group was never given. Where some were taken out of the stream the server does not know; we count."""
    if group["lag"] is not None:
        return int(group["lag"])
    last = group["last-delivered-id"]
    return len(await events.xrange(stream, min=f"({last.decode() if isinstance(last, bytes) else last}", count=LAG_LIMIT))


async def _rows(connection: asyncpg.Connection) -> Mapping[str, Row]:
    found = await connection.fetch(
        "SELECT id::text, request ->> 'url' AS url, request ->> 'method' AS method, status, error_type,"
        " encode(content_digest, 'hex') AS digest FROM fetches"
    )
    return {
        row["id"]: Row(
            id=row["id"],
            token=urlsplit(row["url"]).path.rpartition("/")[2],
            method=row["method"],
            status=row["status"],
            error_type=row["error_type"],
            digest=row["digest"],
        )
        for row in found
    }


async def _once_and_for_good(connection: asyncpg.Connection) -> list[str]:
    endings = await connection.fetch("SELECT id::text, count(*) AS times FROM witness.endings GROUP BY id")
    changes = await connection.fetch("SELECT id::text, what FROM witness.regressions")
    events = [json.loads(row["event"]) for row in await connection.fetch("SELECT event FROM witness.announcements")]
    announced = Counter(event["subject"] for event in events if event["type"] == FETCH_FINISHED)
    return [
        *(f"I2: {row['id']} became terminal {row['times']} times" for row in endings if row["times"] > 1),
        *(f"I2: {row['id']} was announced {announced[row['id']]} times" for row in endings if announced[row["id"]] != 1),
        *(f"I3: {row['id']} {row['what']}" for row in changes),
    ]


async def _bodies(connection: asyncpg.Connection) -> list[str]:
    """Every stored body decodes to what its digest says."""
    breaches = []
    async with connection.transaction():
        async for row in connection.cursor("SELECT digest, size_bytes, body FROM contents"):
            decoded = zstandard.ZstdDecompressor().decompress(row["body"], max_output_size=row["size_bytes"])
            if hashlib.sha256(decoded).digest() != row["digest"]:
                breaches.append(f"I2: the body kept as {row['digest'].hex()} is another")
    return breaches


async def _feed(cluster: Cluster, rows: Mapping[str, Row]) -> list[str]:
    """Whatever is terminal was told on the feed, once at least."""
    told: set[str] = set()
    async with cluster.redis("events") as events:
        begin = "-"
        while entries := await events.xrange(FEED_STREAM, min=begin, count=PAGE_ENTRIES):
            for identifier, fields in entries:
                begin = f"({identifier.decode()}"
                event = json.loads(fields[EVENT_FIELD])
                if event["type"] == FETCH_FINISHED:
                    told.add(event["subject"])
    return [f"I2: {row.id} is not on the feed" for row in rows.values() if row.status != "queued" and row.id not in told]


async def _conservation(connection: asyncpg.Connection) -> list[str]:
    counted = {
        row["name"]: int(row["fetches"])
        for row in await connection.fetch("SELECT name, sum(fetches) AS fetches FROM fetch_counts GROUP BY name")
    }
    accepted, ended = counted.pop("accepted", 0), sum(counted.values())
    rows = await connection.fetchval("SELECT count(*) FROM fetches")
    waiting = await connection.fetchval("SELECT count(*) FROM fetch_queue")
    breaches = []
    if accepted != rows:
        breaches.append(f"I7: {accepted} fetches were counted in and the ledger has {rows}")
    if accepted != ended + waiting:
        breaches.append(f"I7: {accepted} fetches were counted in, {ended} ended and {waiting} wait")
    return breaches


async def _dispatches(connection: asyncpg.Connection) -> Mapping[str, int]:
    found = await connection.fetch("SELECT id::text, max(dispatch_seq) AS seq FROM witness.dispatches GROUP BY id")
    return {row["id"]: row["seq"] for row in found}


def _promises(findings: Findings, loads: Sequence[Load], allow: Allowance) -> None:
    promises = [promise for load in loads for promise in load.journal.promises()]
    findings.accepted = len({promise.id for promise in promises})
    ids_of_token: dict[str, set[str]] = defaultdict(set)
    for promise in promises:
        row = findings.rows.get(promise.id)
        ids_of_token[promise.token].add(promise.id)
        if row is None and promise.id in allow.may_be_lost:
            continue
        if row is None:
            findings.breaches.append(f"I1: {promise.id} was promised and is not in the ledger")
        elif row.status == "queued":
            findings.breaches.append(f"I1: {promise.id} was promised and is not terminal")
        for began, ended in allow.no_promise_windows:
            if began < promise.sent_at and promise.received_at < ended:
                findings.breaches.append(f"I6: {promise.id} was promised while nothing could be written")
    if not allow.keys_may_be_forgotten:
        findings.breaches += [f"I2: {token} was promised as {ids}" for token, ids in ids_of_token.items() if len(ids) > 1]


def _results(findings: Findings, cluster: Cluster, allow: Allowance) -> None:
    served = {token: {hit.digest for hit in hits} for token, hits in cluster.origin.hits().items()}
    of_token = Counter(row.token for row in findings.rows.values())
    for row in findings.rows.values():
        findings.statuses[row.status] += 1
        if row.error_type:
            findings.errors[row.error_type] += 1
        if row.status == "succeeded" and row.digest not in served.get(row.token, set()):
            findings.breaches.append(f"I2: {row.id} has a body that was never served for it")
    if not allow.keys_may_be_forgotten:
        findings.breaches += [f"I2: {token} has {count} fetches" for token, count in of_token.items() if count > 1]


def _over_fetching(findings: Findings, cluster: Cluster, dispatches: Mapping[str, int], allow: Allowance) -> None:
    allowed: Counter[str] = Counter()
    once = Counter(row.token for row in findings.rows.values() if row.method not in IDEMPOTENT_METHODS)
    for row in findings.rows.values():
        allowed[row.token] += dispatches.get(row.id, 0) + allow.extra_hits
        findings.redispatched += dispatches.get(row.id, 0) > 1
    for token, hits in cluster.origin.hits().items():
        if token in allowed:
            findings.hits += len(hits)
            if token in once and len(hits) > once[token]:
                findings.breaches.append(f"I5: {token} may be sent once only and was requested {len(hits)} times")
            if len(hits) > allowed[token]:
                findings.breaches.append(f"I5: {token} was requested {len(hits)} times and given out {allowed[token]} times")


async def _limits(cluster: Cluster) -> list[str]:
    breaches = []
    for name, node in cluster.nodes.items():
        if node.role in ("gateway", "store", "fetcher") and node.is_running:
            now_bytes, peak_bytes = _memory(cluster.pid(name))
            if now_bytes > RSS_LIMIT_BYTES:
                breaches.append(f"I9: {name} uses {now_bytes // 2**20} MiB of memory")
            if peak_bytes > PEAK_LIMIT_BYTES:
                breaches.append(f"I9: {name} used {peak_bytes // 2**20} MiB of memory for a moment")
    stores = sum(node.role == "store" for node in cluster.nodes.values())
    async with cluster.database() as connection:
        count = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    if count > stores * CONNECTIONS_OF_A_STORE + OTHER_CONNECTIONS:
        breaches.append(f"I9: Postgres has {count} connections")
    return breaches


def _memory(pid: int) -> tuple[int, int]:
    """What a process holds, and the most that it ever held (VmRSS and VmHWM, proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    now, peak = (re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    assert now is not None and peak is not None, status
    return int(now[1]) * 1024, int(peak[1]) * 1024
