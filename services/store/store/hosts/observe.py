"""What new attempts tell about hosts: slots come free, paces change, violations are counted. Last in a recorder's transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from common.contracts.fetches import FetchAttempted

from store.database import Connection
from store.hosts.pace import (
    SLOW_DOWN_STATUSES,
    Host,
    PaceDefaults,
    answered,
    compared,
    ended,
    host_of,
    response_head,
    told_crawl_delay,
)
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
    defaults: PaceDefaults,
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
        violations += _observe(hosts, attempt, defaults, now=at)
    await settle_hosts(connection, hosts.values(), defaults, had_turn=False, now=now)
    return violations


def _observe(hosts: dict[str, Host], attempt: HostAttempt, defaults: PaceDefaults, *, now: datetime) -> bool:
    """Apply one attempt to the hosts it speaks of; True when it came too early after another."""
    attempted = attempt.attempted
    robots = attempted.outcome.evidence.robots
    asking = host_of(robots.url) if robots is not None and robots.url is not None else ""
    if robots is not None and asking in hosts:
        hosts[asking] = told_crawl_delay(hosts[asking], robots)
    answering = _answering(attempt)
    if answering in hosts:
        hosts[answering] = answered(hosts[answering], attempted, now=now)
    host, is_violation = compared(hosts[attempt.host], attempted, paced_ms=attempt.paced_ms)
    hosts[attempt.host] = ended(host, attempted, defaults, now=now)
    return is_violation


def _answering(attempt: HostAttempt) -> str:
    """The host whose response came."""
    head = response_head(attempt.attempted)
    return host_of(head.final_url) if head is not None else ""


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
