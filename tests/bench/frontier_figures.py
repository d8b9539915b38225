"""Figures of a run of the frontier simulator: how long hosts and priorities waited, how near hosts came to their pace. Pure."""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from frontier_world import SECOND, Made, World

LEARNING_ATTEMPTS = 5
"""The first on a host, of which nothing is known yet."""
TAIL_SHARE = 0.5
"""The last on a host: trains that are out when its line ends may leave lanes dry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds until the first attempt, over so many hosts or fetches."""

    count: int
    mean: float
    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Waits":
        """Of at least one."""
        ordered = sorted(seconds)
        return cls(
            count=len(ordered),
            mean=statistics.fmean(ordered),
            median=ordered[len(ordered) // 2],
            p99=ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            longest=ordered[-1],
        )


def first_waits(made: Iterable[Made], *, without: Collection[str] = ()) -> list[float]:
    """For each host that was attempted, how long after the beginning."""
    first: dict[str, int] = {}
    for one in made:
        first[one.host] = min(one.started, first.get(one.host, one.started))
    return [started / SECOND for host, started in first.items() if host not in without]


def waits_by_priority(made: Iterable[Made]) -> Mapping[int, Waits]:
    """How long the fetches of each priority waited for their first attempt, of those that had one."""
    first: dict[object, Made] = {}
    for one in made:
        known = first.get(one.fetch_id)
        if known is None or one.started < known.started:
            first[one.fetch_id] = one
    by_priority: dict[int, list[float]] = {}
    for one in first.values():
        by_priority.setdefault(one.priority, []).append(one.started / SECOND)
    return {priority: Waits.of(seconds) for priority, seconds in sorted(by_priority.items())}


def utilisations(made: Iterable[Made], world: World, *, max_in_flight: int, at_least: int = 40) -> dict[str, tuple[int, float]]:
    """Of each host with that many attempts its delay in ms, and the rate it was attempted at as a share of what it allows.

    What it allows: one each delay and response, or with no delay `max_in_flight` each response. The first and the last of
    its attempts do not count.
    """
    found = {}
    for host, group in groupby(sorted(made, key=lambda one: (one.host, one.started)), key=lambda one: one.host):
        attempts = list(group)
        if len(attempts) < at_least:
            continue
        counted = attempts[LEARNING_ATTEMPTS : int(len(attempts) * (1 - TAIL_SHARE))]
        response = statistics.fmean(one.ended - one.started for one in counted) / SECOND
        delay = world.behaviour(host).crawl_delay_ms
        allowed = 1 / (delay / 1000 + response) if delay else max_in_flight / response
        achieved = (len(counted) - 1) * SECOND / (counted[-1].started - counted[0].started)
        found[host] = (delay, achieved / allowed)
    return found
