"""What new attempts tell about hosts: lanes come free, paces change, violations are counted. Last in a recorder's transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from common.contracts.fetches import FetchAttempted, OutcomeKind

from store.database import Connection
from store.hosts.changes import (
    SLOW_DOWN_STATUSES,
    answered,
    asked_nobody,
    compared,
    did_not_reach,
    ended,
    host_of,
    reached,
    response_head,
    told_crawl_delay,
    unreached,
)
from store.hosts.pace import Host, PaceSettings
from store.hosts.rows import lock_hosts, settle_hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAttempt:
    """A new attempt and the host whose turn it took; `paced_ms` is the delay it was dispatched under, 0 when that is unknown."""

    host: str
    attempted: FetchAttempted
    paced_ms: int


async def observe_attempts(
    connection: Connection,
    attempts: Sequence[HostAttempt],
    touched: Collection[str],
    settings: PaceSettings,
    *,
    now: datetime | None,
) -> int:
    """Write what attempts changed about their hosts, and have the claim look at all that were touched. Returns violations.

    A response slows the host that gave it, which after a redirect is another one.
    """
    names = {*touched, *(attempt.host for attempt in attempts), *_slowed(attempts)}
    if not names:
        return 0
    locked, at = await lock_hosts(connection, names, now=now)
    hosts = dict(locked)
    violations = 0
    for attempt in sorted(attempts, key=lambda attempt: attempt.attempted.started_at):
        violations += _observe(hosts, attempt, settings, now=at)
    await settle_hosts(connection, hosts.values(), settings, had_turn=False, at=at, now=now)
    return violations


def _observe(hosts: dict[str, Host], attempt: HostAttempt, settings: PaceSettings, *, now: datetime) -> bool:
    """Apply one attempt to the hosts it speaks of; True when it came too early after another."""
    attempted = attempt.attempted
    robots = attempted.outcome.evidence.robots
    asking = host_of(robots.url) if robots is not None and robots.url is not None else ""
    if robots is not None and asking in hosts:
        hosts[asking] = told_crawl_delay(hosts[asking], robots)
    if attempted.outcome.kind is OutcomeKind.SNOOZED:
        hosts[attempt.host] = ended(hosts[attempt.host], attempted, settings, now=now)
        return False
    answering = _answering(attempted)
    if answering in hosts:
        hosts[answering] = answered(hosts[answering], attempted, now=now)
    if did_not_reach(attempted) and _last_asked(attempt) == attempt.host:
        hosts[attempt.host] = unreached(hosts[attempt.host], settings, now=now)
    elif attempted.outcome.evidence.hops and not asked_nobody(attempted):
        hosts[attempt.host] = reached(hosts[attempt.host])
    host, is_violation = compared(hosts[attempt.host], attempted, paced_ms=attempt.paced_ms)
    hosts[attempt.host] = ended(host, attempted, settings, now=now)
    return is_violation


def _answering(attempted: FetchAttempted) -> str:
    """The host whose response came."""
    head = response_head(attempted)
    return host_of(head.final_url) if head is not None else ""


def _last_asked(attempt: HostAttempt) -> str:
    """The host of the last exchange; the fetch's own where there was none."""
    hops = attempt.attempted.outcome.evidence.hops
    return host_of(hops[-1].url) if hops else attempt.host


def _slowed(attempts: Sequence[HostAttempt]) -> set[str]:
    """Hosts that asked us to slow down or to keep a delay; others that were met on the way need no lock."""
    names = set()
    for attempt in attempts:
        outcome = attempt.attempted.outcome
        head = response_head(attempt.attempted)
        if head is not None and (head.status in SLOW_DOWN_STATUSES or outcome.not_before is not None):
            names.add(host_of(head.final_url))
        robots = outcome.evidence.robots
        if robots is not None and robots.url is not None and robots.crawl_delay_seconds:
            names.add(host_of(robots.url))
    return names - {""}
