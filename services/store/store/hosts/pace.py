"""The pace of a host: what is in force, who set it, and when an attempt may start. Pure.

What a host asks for is never undercut: the longer of `Crawl-delay` and our delay, and nothing while it asked for a pause or
cannot be reached. An operator's numbers take the place of our defaults.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from common.contracts.hosts import BreakerState, HostState, PaceRule, PaceView


BRIEF_SECONDS = 0.1
"""What one train does in this time need not be spread over several: the last of its fetches waits for no longer than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceSettings:
    """The pace of a host that asked for nothing, how long trains are, and when a host that cannot be reached is left alone."""

    delay_ms: int
    max_in_flight: int
    train_seconds: float = 2.0
    train_fetches: int = 100
    breaker_failures: int = 5
    breaker_seconds: float = 10.0
    breaker_limit_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A train that is out: the token of its last fetch's dispatch, and when it is lost if nobody answers."""

    token: str
    ends_at: datetime


def token_of(fetch_id: UUID, dispatch_seq: int) -> str:
    """What names a dispatch."""
    return f"{fetch_id}/{dispatch_seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """One of the latest attempts on a host, as JSON has it."""

    at: str
    outcome: str
    status: int | None
    error: str | None
    seconds: float

    def as_json(self) -> dict[str, str | int | float | None]:
        """What the row keeps."""
        return {
            "at": self.at, "outcome": self.outcome, "status": self.status, "error": self.error, "seconds": self.seconds
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What an operator set, until when."""

    state: HostState = HostState.OPEN
    delay_ms: int | None = None
    max_in_flight: int | None = None
    reason: str | None = None
    actor: str | None = None
    until: datetime


class Host(NamedTuple):
    """A row of `hosts`. `slowed_at` is when its last pause was set, `failures` how often in a row it could not be reached.

    A tuple, since each attempt changes a few fields of it: a dataclass takes six times as long to copy.
    """

    host: str
    crawl_delay_ms: int | None = None
    next_slot_at: datetime | None = None
    lanes: tuple[Lane, ...] = ()
    paused_until: datetime | None = None
    slowed_at: datetime | None = None
    slowdowns: int = 0
    failures: int = 0
    broken_until: datetime | None = None
    response_ms: int | None = None
    last_started_at: datetime | None = None
    last_ended_at: datetime | None = None
    last_delay_ms: int = 0
    recent: tuple[Recent, ...] = ()
    override: Override | None = None

    @property
    def is_known(self) -> bool:
        """Whether any attempt on it has ended."""
        return self.last_ended_at is not None


def override_in_force(host: Host, *, now: datetime) -> Override | None:
    """The operator's override, unless it has ended."""
    return host.override if host.override is not None and host.override.until > now else None


def state_in_force(host: Host, *, now: datetime) -> HostState:
    """Whether an operator lets fetches through."""
    override = override_in_force(host, now=now)
    return override.state if override is not None else HostState.OPEN


def breaker_state(host: Host, *, now: datetime) -> BreakerState:
    """Open while the host is left alone because it could not be reached; half open from then until an attempt reaches it."""
    if host.broken_until is None:
        return BreakerState.CLOSED
    return BreakerState.OPEN if host.broken_until > now else BreakerState.HALF_OPEN


def delay_ms(host: Host, settings: PaceSettings, *, now: datetime) -> int:
    """The delay in force, from the end of one exchange to the start of the next."""
    override = override_in_force(host, now=now)
    ours = override.delay_ms if override is not None and override.delay_ms is not None else settings.delay_ms
    return max(ours, host.crawl_delay_ms or 0)


def max_in_flight(host: Host, settings: PaceSettings, *, now: datetime) -> int:
    """How many attempts may be out at once: one with a delay, to probe a host that could not be reached, and to meet a new one.

    What a host asks for in its robots.txt is known only after its first attempt.
    """
    if delay_ms(host, settings, now=now) or breaker_state(host, now=now) is not BreakerState.CLOSED or not host.is_known:
        return 1
    override = override_in_force(host, now=now)
    ours = override.max_in_flight if override is not None else None
    return ours if ours is not None else settings.max_in_flight


def lanes_out(host: Host, *, now: datetime) -> tuple[Lane, ...]:
    """The trains that are out; one that nobody answered in time is so no longer."""
    return tuple(lane for lane in host.lanes if lane.ends_at > now)


def train_fetches(host: Host, settings: PaceSettings, *, now: datetime) -> int:
    """How many fetches one train may carry: what is likely done in its time; one where that is unknown or there is trouble."""
    if host.response_ms is None or host.slowdowns or host.failures:
        return 1
    each_ms = delay_ms(host, settings, now=now) + max(host.response_ms, 1)
    return max(1, min(settings.train_fetches, int(settings.train_seconds * 1000 / each_ms)))


def brief_train_fetches(host: Host, settings: PaceSettings, *, now: datetime) -> int:
    """How many fetches one train may carry before they would come noticeably sooner in several, side by side."""
    brief = replace(settings, train_seconds=min(BRIEF_SECONDS, settings.train_seconds))
    return train_fetches(host, brief, now=now)


def rule_in_force(host: Host, settings: PaceSettings, *, now: datetime) -> tuple[PaceRule, datetime | None]:
    """The strictest rule by name, and when it ends if it does so by itself."""
    override = override_in_force(host, now=now)
    closed: list[tuple[datetime, PaceRule]] = []
    if override is not None and override.state is not HostState.OPEN:
        closed.append((override.until, PaceRule.OPERATOR))
    if host.broken_until is not None:
        closed.append((max(host.broken_until, now), PaceRule.BREAKER))
    if host.paused_until is not None and host.paused_until > now:
        closed.append((host.paused_until, PaceRule.RETRY_AFTER))
    if closed:
        until, rule = max(closed)
        return rule, until if until > now else None
    overrides_pace = override is not None and (override.delay_ms, override.max_in_flight) != (None, None)
    ours_ms = override.delay_ms if override is not None and override.delay_ms is not None else settings.delay_ms
    if (host.crawl_delay_ms or 0) > ours_ms:
        return PaceRule.ROBOTS, None
    if override is not None and overrides_pace:
        return PaceRule.OPERATOR, override.until
    return PaceRule.DEFAULT, None


def pace_in_force(host: Host, settings: PaceSettings, *, now: datetime) -> PaceView:
    """The pace as it is shown: the strictest rule and its numbers."""
    rule, until = rule_in_force(host, settings, now=now)
    return PaceView(
        rule=rule,
        delay_ms=delay_ms(host, settings, now=now),
        max_in_flight=max_in_flight(host, settings, now=now),
        until=until,
    )


def opens_at(host: Host, settings: PaceSettings, *, now: datetime) -> datetime:
    """When the next attempt may be dispatched, as far as is known: now, or when the last rule lets go."""
    until = [now, *(moment for moment in (host.next_slot_at, host.paused_until, host.broken_until) if moment is not None)]
    override = override_in_force(host, now=now)
    if override is not None and override.state is not HostState.OPEN:
        until.append(override.until)
    out = lanes_out(host, now=now)
    if len(out) >= max_in_flight(host, settings, now=now):
        until.append(min(lane.ends_at for lane in out))
    return max(until)


def let_go_at(host: Host) -> datetime | None:
    """Of a host that is open: when the last of its rules that end at a known time let go; None if it never had one."""
    closed = host.override is not None and host.override.state is not HostState.OPEN
    until = (host.next_slot_at, host.paused_until, host.broken_until, host.override.until if host.override and closed else None)
    return max((moment for moment in until if moment is not None), default=None)


def free_lanes(host: Host, settings: PaceSettings, *, now: datetime) -> int:
    """How many trains may be dispatched now."""
    if opens_at(host, settings, now=now) > now:
        return 0
    return max_in_flight(host, settings, now=now) - len(lanes_out(host, now=now))


def delay_of(host: Host, settings: PaceSettings, *, now: datetime) -> timedelta:
    """The delay in force, as a duration."""
    return timedelta(milliseconds=delay_ms(host, settings, now=now))
