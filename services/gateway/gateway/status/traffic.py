"""Samples of totals become minutes of traffic. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from common.contracts.overview import Overview, TrafficSample

MINUTES = 60
MINUTE = timedelta(minutes=1)
COUNTS = ("accepted", "succeeded", "failed", "cancelled", "expired")
ENDS = COUNTS[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What happened in the minute that began at `at`, and the queue at its beginning."""

    at: datetime
    accepted: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    queued: int
    running: int

    @property
    def finished(self) -> int:
        """Fetches that reached any terminal status."""
        return self.succeeded + self.failed + self.cancelled + self.expired


def last_hour(overview: Overview) -> list[Minute | None]:
    """The last 60 minutes, the current one last; None for those of before the first sample.

    What happened between samples that are further apart is spread evenly over the minutes between them.
    """
    points = [*overview.samples, overview.now]
    known = {minute.at: minute for before, after in pairwise(points) for minute in _minutes(before, after)}
    newest = _beginning(overview.now.at)
    return [known.get(newest - MINUTE * ago) for ago in reversed(range(MINUTES))]


def total(minutes: Sequence[Minute | None], name: str) -> int:
    """A count over all minutes that are known."""
    return sum(getattr(minute, name) for minute in minutes if minute is not None)


def _minutes(before: TrafficSample, after: TrafficSample) -> Iterator[Minute]:
    last = _beginning(after.at - timedelta(microseconds=1))
    count = max(1, round((last - before.at) / MINUTE) + 1)
    for number in range(count):
        shares = {name: _share(getattr(after, name) - getattr(before, name), number, count) for name in COUNTS}
        yield Minute(at=before.at + MINUTE * number, queued=before.queued, running=before.running, **shares)


def _share(whole: int, number: int, count: int) -> int:
    """The part of one of so many minutes; all add up to the whole. Totals that went back, as after a restore, are no traffic."""
    whole = max(0, whole)
    return whole * (number + 1) // count - whole * number // count


def _beginning(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)
