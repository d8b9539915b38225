"""The pace of a host, and what an attempt changes about it. Pure.

The strictest rule holds: our default delay or the robots.txt's `Crawl-delay`, and a pause while the origin asked for one.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID

from common.contracts.fetches import FetchAttempted, ResponseHead, RobotsEvidence, RobotsVerdict

CRAWL_DELAY_LIMIT_MS = 300_000
PAUSE_LIMIT = timedelta(hours=24)
BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 300.0
SLOWDOWNS_LIMIT = 10
"""The pause after so many slowdowns is the limit; further ones are not counted."""
SLOW_DOWN_STATUSES = frozenset({429, 503})
HOST_LIMIT_CHARACTERS = 300
VERDICTS_OF_A_FILE = frozenset({RobotsVerdict.ALLOWED, RobotsVerdict.DISALLOWED, RobotsVerdict.UNAVAILABLE})
"""Those that tell what robots.txt asks for; without one (4xx) it asks for nothing."""


class PaceRule(StrEnum):
    """Who set the pace that is in force."""

    DEFAULT = "default"
    ROBOTS = "robots"
    RETRY_AFTER = "retry_after"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceDefaults:
    """The pace of a host that asked for nothing: delay between attempts, and attempts at once while there is none."""

    delay_ms: int
    max_in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A row of `hosts`. A host with a delay is held by one dispatch; `slowed_at` is when its last pause was set."""

    host: str
    crawl_delay_ms: int | None = None
    next_slot_at: datetime | None = None
    holder_id: UUID | None = None
    holder_seq: int | None = None
    paused_until: datetime | None = None
    slowed_at: datetime | None = None
    slowdowns: int = 0
    last_started_at: datetime | None = None
    last_ended_at: datetime | None = None
    last_delay_ms: int = 0

    def is_open(self, now: datetime) -> bool:
        """Whether an attempt may be dispatched now, if there is room."""
        return all(until is None or until <= now for until in (self.next_slot_at, self.paused_until))


def delay_ms(host: Host, defaults: PaceDefaults) -> int:
    """The delay in force."""
    return max(defaults.delay_ms, host.crawl_delay_ms or 0)


def max_in_flight(host: Host, defaults: PaceDefaults) -> int:
    """How many attempts may be out at once: with a delay one holds the host."""
    return 1 if delay_ms(host, defaults) else defaults.max_in_flight


def rule_in_force(host: Host, defaults: PaceDefaults, *, now: datetime) -> PaceRule:
    """The strictest rule, by name."""
    if host.paused_until is not None and host.paused_until > now:
        return PaceRule.RETRY_AFTER
    return PaceRule.ROBOTS if (host.crawl_delay_ms or 0) > defaults.delay_ms else PaceRule.DEFAULT


def held(host: Host, defaults: PaceDefaults, *, fetch_id: UUID, dispatch_seq: int, lease_ends_at: datetime) -> Host:
    """The host after a dispatch: with a delay closed until the outcome, or if that is lost until lease and delay are over."""
    delay = delay_ms(host, defaults)
    if not delay:
        return replace(host, holder_id=None, holder_seq=None)
    opens_at = lease_ends_at + timedelta(milliseconds=delay)
    return replace(host, holder_id=fetch_id, holder_seq=dispatch_seq, next_slot_at=opens_at)


def let_go(host: Host, *, fetch_id: UUID, dispatch_seq: int, now: datetime) -> Host:
    """The host after a dispatch that nobody tried to send: open, if that was the one that held it."""
    if (host.holder_id, host.holder_seq) != (fetch_id, dispatch_seq):
        return host
    return replace(host, holder_id=None, holder_seq=None, next_slot_at=now)


def ended(host: Host, attempted: FetchAttempted, defaults: PaceDefaults, *, now: datetime) -> Host:
    """The host after an attempt on it: open again a delay later. A late outcome never opens it before its holder's time."""
    opens_at = now + timedelta(milliseconds=delay_ms(host, defaults))
    if (host.holder_id, host.holder_seq) == (attempted.id, attempted.dispatch_seq):
        return replace(host, holder_id=None, holder_seq=None, next_slot_at=opens_at)
    if opens_at > now:
        return replace(host, next_slot_at=max(opens_at, host.next_slot_at or opens_at))
    return host


def compared(host: Host, attempted: FetchAttempted, *, paced_ms: int) -> tuple[Host, bool]:
    """The host with its latest attempt, and whether two attempts were closer than the later one's dispatch allowed."""
    if host.last_started_at is None or host.last_ended_at is None or attempted.started_at >= host.last_started_at:
        latest = replace(
            host, last_started_at=attempted.started_at, last_ended_at=attempted.finished_at, last_delay_ms=paced_ms
        )
        gap_starts_at = host.last_ended_at
        return latest, gap_starts_at is not None and _is_too_early(attempted.started_at, gap_starts_at, paced_ms)
    return host, _is_too_early(host.last_started_at, attempted.finished_at, host.last_delay_ms)


def _is_too_early(started_at: datetime, ended_at: datetime, paced_ms: int) -> bool:
    return paced_ms > 0 and started_at < ended_at + timedelta(milliseconds=paced_ms)


def told_crawl_delay(host: Host, robots: RobotsEvidence) -> Host:
    """The host with the delay that its robots.txt asks for, if this evidence tells."""
    if robots.verdict not in VERDICTS_OF_A_FILE:
        return host
    asked_ms = min(round((robots.crawl_delay_seconds or 0) * 1000), CRAWL_DELAY_LIMIT_MS)
    return replace(host, crawl_delay_ms=asked_ms if asked_ms > 0 else None)


def answered(host: Host, attempted: FetchAttempted, *, now: datetime) -> Host:
    """The host after a response of its own: slower when it asks for that, a step faster again when it does not.

    Without `Retry-After` a pause doubles from one slowdown to the next. Attempts that were out when it was set count no more.
    """
    head = response_head(attempted)
    if head is None:
        return host
    is_news = host.slowed_at is None or attempted.started_at >= host.slowed_at
    asked = attempted.outcome.not_before
    if head.status not in SLOW_DOWN_STATUSES and asked is None:
        return replace(host, slowdowns=max(0, host.slowdowns - 1)) if is_news and host.slowdowns else host
    if asked is None and not is_news:
        return host
    slowdowns = min(host.slowdowns + 1, SLOWDOWNS_LIMIT) if is_news else host.slowdowns
    backoff = timedelta(seconds=min(BACKOFF_LIMIT_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** (slowdowns - 1)))
    until = min(asked, now + PAUSE_LIMIT) if asked is not None else now + backoff
    return replace(host, slowdowns=slowdowns, slowed_at=now, paused_until=max(until, host.paused_until or until))


def response_head(attempted: FetchAttempted) -> ResponseHead | None:
    """The response that came, also where it could not be kept."""
    return attempted.outcome.response or attempted.outcome.evidence.received


def host_of(url: str) -> str:
    """The host of a canonical URL, as the glossary has it; empty for what a stranger made up and no row can hold."""
    try:
        host = urlsplit(url).netloc
    except ValueError:
        return ""
    return host if len(host) <= HOST_LIMIT_CHARACTERS and host.isprintable() else ""
