"""What dispatches and attempts change about a host. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from common.contracts.fetches import (
    Budget,
    ErrorType,
    FetchAttempted,
    OutcomeKind,
    ResponseHead,
    RobotsEvidence,
    RobotsVerdict,
)
from common.contracts.hosts import HOST_LIMIT_CHARACTERS, BreakerState

from store.hosts.pace import Host, Lane, PaceSettings, Recent, breaker_state, delay_ms, delay_of, lanes_out, token_of

CRAWL_DELAY_LIMIT_MS = 300_000
PAUSE_LIMIT = timedelta(hours=24)
SNOOZE_LIMIT = timedelta(seconds=CRAWL_DELAY_LIMIT_MS / 1000)
"""How long a worker that gives fetches back may keep their host closed: as long as any delay."""
BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 300.0
SLOWDOWNS_LIMIT = 10
"""The pause after so many slowdowns is the limit; further ones are not counted."""
SLOW_DOWN_STATUSES = frozenset({429, 503})
UNREACHED = frozenset({ErrorType.DNS, ErrorType.CONNECT})
VERDICTS_OF_A_FILE = frozenset({RobotsVerdict.ALLOWED, RobotsVerdict.DISALLOWED, RobotsVerdict.UNAVAILABLE})
"""Those that tell what robots.txt asks for; without one (4xx) it asks for nothing."""
RECENT_LIMIT = 5
RESPONSE_WEIGHT = 0.3
"""How much the latest attempt counts in the usual response time."""
EXPONENT_LIMIT = 30
_AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://(\[[^\]/?#]*\](?::[0-9]*)?|[^\[/?#]*)", re.IGNORECASE)
"""RFC 3986 sections 3.1 and 3.2, with an IPv6 address in its brackets or nothing."""
CLOCK_TOLERANCE = timedelta(milliseconds=2)
"""Workers wait by a clock that only counts and report times of day, which are adjusted by about this much meanwhile."""


def dispatched(host: Host, settings: PaceSettings, lanes: Sequence[Lane], *, now: datetime) -> Host:
    """The host after trains have left. With a delay it stays closed for that long after one is lost, if it is."""
    delay = delay_of(host, settings, now=now)
    new = [Lane(token=lane.token, ends_at=lane.ends_at + delay) for lane in lanes]
    return host._replace(lanes=(*lanes_out(host, now=now), *new))


def taken_back(host: Host, settings: PaceSettings, tokens: frozenset[str], *, was_tried: bool, now: datetime) -> Host:
    """The host after trains did not leave. Where a send was tried nobody knows: then a delay keeps the host closed."""
    if was_tried and delay_ms(host, settings, now=now):
        return host
    return host._replace(lanes=tuple(lane for lane in host.lanes if lane.token not in tokens))


def wiped(host: Host, settings: PaceSettings, *, now: datetime) -> Host:
    """The host after the broker lost all commands. A worker may have taken one before: a delay keeps the host closed."""
    return host if delay_ms(host, settings, now=now) else host._replace(lanes=())


def ended(host: Host, attempted: FetchAttempted, settings: PaceSettings, *, now: datetime) -> Host:
    """The host after an attempt on it, or after one was snoozed: with the last of a train its lane is free, a delay later."""
    token = token_of(attempted.id, attempted.dispatch_seq)
    lanes = tuple([lane for lane in host.lanes if lane.token != token])  # hosts have many, and attempts come often
    delay = delay_of(host, settings, now=now)
    next_slot_at = max(now + delay, host.next_slot_at or now) if delay else host.next_slot_at
    if attempted.outcome.kind is OutcomeKind.SNOOZED:
        asked = attempted.outcome.not_before  # what its worker knows it will not do before
        held_until = min(asked, now + SNOOZE_LIMIT) if asked is not None else now
        return host._replace(lanes=lanes, next_slot_at=max(held_until, next_slot_at or held_until))
    if asked_nobody(attempted):
        return host._replace(lanes=lanes, recent=(_recent(attempted), *host.recent)[:RECENT_LIMIT])
    took_ms = max(1, round((attempted.finished_at - attempted.started_at) / timedelta(milliseconds=1)))
    usual_ms = took_ms if host.response_ms is None else round(_mean(host.response_ms, took_ms))
    recent = (_recent(attempted), *host.recent)[:RECENT_LIMIT]
    return host._replace(lanes=lanes, next_slot_at=next_slot_at, response_ms=min(usual_ms, 2**31 - 1), recent=recent)


def compared(host: Host, attempted: FetchAttempted, *, paced_ms: int) -> tuple[Host, bool]:
    """The host with its latest attempt, and whether two attempts were closer than the later one's dispatch allowed.

    One that asked nobody is too close to none.
    """
    if asked_nobody(attempted):
        return host, False
    if host.last_started_at is None or host.last_ended_at is None or attempted.started_at >= host.last_started_at:
        latest = host._replace(
            last_started_at=attempted.started_at, last_ended_at=attempted.finished_at, last_delay_ms=paced_ms
        )
        gap_starts_at = host.last_ended_at
        return latest, gap_starts_at is not None and _is_too_early(attempted.started_at, gap_starts_at, paced_ms)
    return host, _is_too_early(host.last_started_at, attempted.finished_at, host.last_delay_ms)


def told_crawl_delay(host: Host, robots: RobotsEvidence) -> Host:
    """The host with the delay that its robots.txt asks for, if this evidence tells."""
    if robots.verdict not in VERDICTS_OF_A_FILE:
        return host
    asked_ms = min(round((robots.crawl_delay_seconds or 0) * 1000), CRAWL_DELAY_LIMIT_MS)
    return host._replace(crawl_delay_ms=asked_ms if asked_ms > 0 else None)


def answered(host: Host, attempted: FetchAttempted, *, now: datetime) -> Host:
    """The host after a response of its own: slower when it asks for that, a step faster again when it does not.

    Without `Retry-After` a pause doubles from one slowdown to the next. Attempts that were out when it was set count no more.
    """
    head = response_head(attempted)
    if head is None:
        return host
    host = reached(host)
    is_news = host.slowed_at is None or attempted.started_at >= host.slowed_at
    asked = attempted.outcome.not_before
    if head.status not in SLOW_DOWN_STATUSES and asked is None:
        return host._replace(slowdowns=max(0, host.slowdowns - 1)) if is_news and host.slowdowns else host
    if asked is None and not is_news:
        return host
    slowdowns = min(host.slowdowns + 1, SLOWDOWNS_LIMIT) if is_news else host.slowdowns
    backoff = timedelta(seconds=_doubled(BACKOFF_FIRST_SECONDS, slowdowns - 1, BACKOFF_LIMIT_SECONDS))
    until = min(asked, now + PAUSE_LIMIT) if asked is not None else now + backoff
    return host._replace(slowdowns=slowdowns, slowed_at=now, paused_until=max(until, host.paused_until or until))


def unreached(host: Host, settings: PaceSettings, *, now: datetime) -> Host:
    """The host after one more attempt that did not reach it; from so many in a row on it is left alone, longer each time.

    While it is left alone nothing is counted: those attempts were out before.
    """
    if breaker_state(host, now=now) is BreakerState.OPEN:
        return host
    failures = host.failures + 1
    if failures < settings.breaker_failures:
        return host._replace(failures=failures)
    rest_seconds = _doubled(settings.breaker_seconds, failures - settings.breaker_failures, settings.breaker_limit_seconds)
    return host._replace(failures=failures, broken_until=now + timedelta(seconds=rest_seconds))


def asked_nobody(attempted: FetchAttempted) -> bool:
    """Whether the attempt was refused before any exchange, such as by a robots.txt that was known before."""
    evidence = attempted.outcome.evidence
    if attempted.outcome.kind is not OutcomeKind.REFUSED or evidence.hops:
        return False
    asked_robots_at = evidence.robots.fetched_at if evidence.robots is not None else None
    return asked_robots_at is None or asked_robots_at < attempted.started_at


def reached(host: Host) -> Host:
    """The host after a connection to it came about, whatever came of that: the breaker is closed."""
    return host._replace(failures=0, broken_until=None) if host.failures or host.broken_until is not None else host


def did_not_reach(attempted: FetchAttempted) -> bool:
    """Whether no connection came about. A certificate that is wrong does not count: the host was reached."""
    outcome = attempted.outcome
    if outcome.error is None or outcome.evidence.received is not None:
        return False
    ran_out_connecting = outcome.error.type is ErrorType.TIMEOUT and outcome.evidence.exceeded is Budget.CONNECT
    return outcome.error.type in UNREACHED or ran_out_connecting


def response_head(attempted: FetchAttempted) -> ResponseHead | None:
    """The response that came, also where it could not be kept."""
    return attempted.outcome.response or attempted.outcome.evidence.received


def host_of(url: str) -> str:
    """The host of a canonical URL, as the glossary has it; empty for what a stranger made up and no row can hold."""
    found = _AUTHORITY.match(url)
    host = found.group(1) if found is not None else ""
    return host if len(host) <= HOST_LIMIT_CHARACTERS and host.isprintable() else ""


def _mean(usual_ms: float, latest_ms: float) -> float:
    return usual_ms + RESPONSE_WEIGHT * (latest_ms - usual_ms)


def _doubled(first_seconds: float, times: int, limit_seconds: float) -> float:
    return min(limit_seconds, first_seconds * 2.0 ** min(times, EXPONENT_LIMIT))


def _is_too_early(started_at: datetime, ended_at: datetime, paced_ms: int) -> bool:
    return paced_ms > 0 and started_at < ended_at + timedelta(milliseconds=paced_ms) - CLOCK_TOLERANCE


def _recent(attempted: FetchAttempted) -> Recent:
    outcome, head = attempted.outcome, response_head(attempted)
    return Recent(
        at=attempted.finished_at.isoformat(),
        outcome=outcome.kind.value,
        status=head.status if head is not None else None,
        error=outcome.error.type.value if outcome.error is not None else None,
        seconds=round((attempted.finished_at - attempted.started_at).total_seconds(), 3),
    )
