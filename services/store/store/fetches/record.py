"""Write what attempts did: content, next state, attempt, outbox. The second door. Idempotent by fetch and dispatch."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import asyncpg
from common.contracts.fetches import ErrorType, FetchAttempted, FetchError, Outcome, OutcomeKind

from store.columns import IN_ORDER, columns
from store.contents.digests import digest_bytes
from store.contents.keep import Content, Kept, hold_contents, keep_contents
from store.database import Connection
from store.fetches.audit import presentable, write_audit
from store.fetches.finish import Finished, finish_fetches
from store.fetches.lifecycle import Again, Finish, Jitter, Pending, Retry, Snooze, Stored, Transition, next_state
from store.fetches.storable import storable_json
from store.fetches.stored import read_stored
from store.hosts.observe import HostAttempt, observe_attempts
from store.hosts.pace import PaceSettings
from store.queries import query

LOCK_PENDING = query("queue_lock_pending")
KNOWN = query("fetches_known")
RETRY = query("queue_retry")
AGAIN = query("queue_again")
SNOOZE = query("queue_snooze")
INSERT_ATTEMPTS = query("attempts_insert")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt as delivered: what it came to, and its compressed body when that travelled with it."""

    attempted: FetchAttempted
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a set of attempts changed. `unknown` holds attempts of fetches that the ledger never had."""

    finished: Finished = field(default_factory=Finished)
    kept: Kept = field(default_factory=Kept)
    attempts: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    snoozed: int = 0
    violations: int = 0
    unknown: frozenset[UUID] = frozenset()


async def record(
    connection: Connection,
    attempts: Sequence[Attempt],
    *,
    source: str,
    pace: PaceSettings,
    now: datetime | None,
    jitter: Jitter,
) -> Recorded:
    """Apply attempts in their order, in the caller's transaction. Done twice it changes nothing; terminal states stay."""
    ids = sorted({attempt.attempted.id for attempt in attempts}, key=IN_ORDER)
    rows = {row["id"]: row for row in await connection.fetch(LOCK_PENDING, ids, now)}
    pending = {identifier: _pending(row) for identifier, row in rows.items()}
    hosts = await _hosts(connection, rows, ids)
    unknown = frozenset(ids) - hosts.keys()
    known = [attempt for attempt in attempts if attempt.attempted.id not in unknown] if unknown else attempts
    complete = await _with_content(connection, known)
    transitions = _decide(pending, complete, await _stored(connection, pending, complete), jitter=jitter)
    finishes = [transition for transition in transitions if isinstance(transition, Finish)]
    retries = [transition for transition in transitions if isinstance(transition, Retry)]
    kept = await keep_contents(connection, _bodies(complete, finishes), now=now)
    await _retry(connection, retries, now=now)
    await _ask_again(connection, transitions, now=now)
    await _snooze(connection, transitions, now=now)
    finished = await finish_fetches(connection, finishes, source=source, now=now)
    inserted = await _insert(connection, [attempt for attempt in complete if not _was_snoozed(attempt)])
    snoozed = [attempt.attempted for attempt in complete if _was_snoozed(attempt)]
    seen = [_host_attempt(attempted, hosts, rows) for attempted in (*inserted, *snoozed)]
    violations = await observe_attempts(connection, seen, set(hosts.values()) | finished.released, pace, now=now)
    return Recorded(
        finished=finished,
        kept=kept,
        attempts=Counter(attempted.outcome.kind.value for attempted in inserted),
        snoozed=len(snoozed),
        retries=len(retries),
        violations=violations,
        unknown=unknown,
    )


def _pending(row: asyncpg.Record) -> Pending:
    return Pending(
        id=row["id"],
        is_running=row["state"] == "running",
        dispatch_seq=row["dispatch_seq"],
        attempts=row["attempts"],
        retries_max=row["retries_max"],
        backoff_seconds=row["backoff_seconds"],
        at_most_once=row["at_most_once"],
        sharing_key=row["sharing_key"],
        revalidates_id=row["revalidates_id"],
        expires_in_seconds=row["expires_in_seconds"],
    )


async def _hosts(connection: Connection, rows: Mapping[UUID, asyncpg.Record], ids: Sequence[UUID]) -> dict[UUID, str]:
    """The host of each fetch that the ledger has."""
    hosts = {identifier: row["host"] for identifier, row in rows.items()}
    finished = [identifier for identifier in ids if identifier not in hosts]
    if finished:
        hosts.update({row["id"]: row["host"] for row in await connection.fetch(KNOWN, finished)})
    return hosts


def _host_attempt(
    attempted: FetchAttempted, hosts: Mapping[UUID, str], rows: Mapping[UUID, asyncpg.Record]
) -> HostAttempt:
    """The attempt as its host sees it. Only the current dispatch knows the delay it was made under."""
    row = rows.get(attempted.id)
    is_current = row is not None and row["dispatch_seq"] == attempted.dispatch_seq
    paced_ms = row["pace_ms"] if row is not None and is_current else 0
    return HostAttempt(host=hosts[attempted.id], attempted=attempted, paced_ms=paced_ms)


async def _with_content(connection: Connection, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """An attempt whose body is neither here nor stored kept nothing: it becomes a failure that may be tried again."""
    referenced = {
        digest_bytes(reference.digest)
        for attempt in attempts
        if attempt.body is None and (reference := attempt.attempted.outcome.body) is not None
    }
    missing = referenced - await hold_contents(connection, sorted(referenced))
    if not missing:
        return attempts
    return [_without_content(attempt) if _lacks(attempt, missing) else attempt for attempt in attempts]


def _lacks(attempt: Attempt, missing: Iterable[bytes]) -> bool:
    reference = attempt.attempted.outcome.body
    return attempt.body is None and reference is not None and digest_bytes(reference.digest) in missing


def _without_content(attempt: Attempt) -> Attempt:
    error = FetchError(type=ErrorType.INTERNAL, detail="The body was fetched but could not be kept.")
    evidence = attempt.attempted.outcome.evidence
    outcome = Outcome(kind=OutcomeKind.FAILED, is_retryable=True, error=error, evidence=evidence)
    return Attempt(attempted=attempt.attempted.model_copy(update={"outcome": outcome}))


async def _stored(
    connection: Connection, pending: Mapping[UUID, Pending], attempts: Sequence[Attempt]
) -> Mapping[UUID, Stored]:
    """The finished fetches that origins confirmed with a 304."""
    confirmed = {
        current.revalidates_id
        for attempt in attempts
        if attempt.attempted.outcome.kind is OutcomeKind.NOT_MODIFIED
        and (current := pending.get(attempt.attempted.id)) is not None
        and current.revalidates_id is not None
    }
    stored = await read_stored(connection, sorted(confirmed))
    return {fetch_id: outcome for fetch_id, outcome in stored.items() if outcome.response is not None}


def _decide(
    pending: Mapping[UUID, Pending], attempts: Sequence[Attempt], stored: Mapping[UUID, Stored], *, jitter: Jitter
) -> list[Transition]:
    """Each fetch's transitions in the order of its attempts; after a finish nothing follows."""
    now_pending = dict(pending)
    transitions: list[Transition] = []
    for attempt in attempts:
        current = now_pending.get(attempt.attempted.id)
        if current is None:
            continue
        confirmed = stored.get(current.revalidates_id) if current.revalidates_id is not None else None
        transition = next_state(current, attempt.attempted, jitter=jitter, stored=confirmed)
        if isinstance(transition, Finish):
            del now_pending[current.id]
        elif isinstance(transition, Retry):
            now_pending[current.id] = replace(current, is_running=False, attempts=current.attempts + 1)
        elif isinstance(transition, Again):
            now_pending[current.id] = replace(current, is_running=False, revalidates_id=None)
        elif isinstance(transition, Snooze):
            now_pending[current.id] = replace(current, is_running=False)
        transitions.append(transition)
    return transitions


def _bodies(attempts: Sequence[Attempt], finishes: Sequence[Finish]) -> dict[bytes, Content]:
    """The bodies that came with attempts and that their finished fetches refer to, each fetch's once."""
    wanted = {(finish.id, finish.digest) for finish in finishes}
    bodies: dict[bytes, Content] = {}
    for attempt in attempts:
        reference = attempt.attempted.outcome.body
        if attempt.body is None or reference is None:
            continue
        if (finished := (attempt.attempted.id, reference.digest)) in wanted:
            wanted.remove(finished)
            digest = digest_bytes(reference.digest)
            copies = bodies[digest].copies + 1 if digest in bodies else 1
            bodies[digest] = Content(size_bytes=reference.size_bytes, body=attempt.body, copies=copies)
    return bodies


async def _retry(connection: Connection, retries: Sequence[Retry], *, now: datetime | None) -> None:
    if retries:
        await connection.execute(RETRY, [retry.id for retry in retries], [retry.delay_seconds for retry in retries], now)


async def _ask_again(connection: Connection, transitions: Sequence[Transition], *, now: datetime | None) -> None:
    again = [transition.id for transition in transitions if isinstance(transition, Again)]
    if again:
        await connection.execute(AGAIN, again, now)


async def _snooze(connection: Connection, transitions: Sequence[Transition], *, now: datetime | None) -> None:
    snoozed = [transition.id for transition in transitions if isinstance(transition, Snooze)]
    if snoozed:
        await connection.execute(SNOOZE, snoozed, now)


def _was_snoozed(attempt: Attempt) -> bool:
    return attempt.attempted.outcome.kind is OutcomeKind.SNOOZED


async def _insert(connection: Connection, attempts: Sequence[Attempt]) -> list[FetchAttempted]:
    """Write the attempts, and return those that were not here before."""
    if not attempts:
        return []
    rows = sorted([attempt.attempted for attempt in attempts], key=lambda attempted: (attempted.id.int, attempted.dispatch_seq))
    inserted = await connection.fetch(INSERT_ATTEMPTS, *columns([_attempt_row(attempted) for attempted in rows]))
    new = {(row["fetch_id"], row["number"]) for row in inserted}
    delivered = {(attempted.id, attempted.dispatch_seq): attempted for attempted in rows}
    written = [attempted for dispatch, attempted in delivered.items() if dispatch in new]
    await write_audit(connection, written)
    return written


def _attempt_row(attempted: FetchAttempted) -> tuple[object, ...]:
    outcome = attempted.outcome
    return (
        attempted.id,
        attempted.dispatch_seq,
        attempted.worker,
        outcome.kind.value,
        outcome.error.type.value if outcome.error else None,
        outcome.response.status if outcome.response else None,
        attempted.started_at,
        attempted.finished_at,
        storable_json(presentable(outcome.evidence).model_dump_json()),
    )
