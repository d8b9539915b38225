"""An independent witness of pacing: what the hosts of the simulator saw, held against what they had asked for.

It knows nothing of the store but when a host's word was recorded. A host's word binds what is given out from then on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from common.contracts.fetches import FetchAttempted
from frontier_world import BEGINNING, Made
from store.hosts.changes import host_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was wrong: gaps shorter than the pace, too many at once, given out during a pause.

    `unknowing` were closer than a delay that was not known yet, `in_transit` began in a pause that came when they were out:
    both are as promised.
    """

    gaps: int
    crowds: int
    intrusions: int
    unknowing: int
    in_transit: int
    in_transit_latest_seconds: float

    @property
    def violations(self) -> int:
        """All that must not be."""
        return self.gaps + self.crowds + self.intrusions


class Witness:
    """Remembers since when each host's word was known."""

    def __init__(self, *, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._delays: dict[str, tuple[int, int]] = {}
        self._pauses: dict[str, list[tuple[int, int]]] = {}

    def recorded(self, attempted: FetchAttempted, now: int) -> None:
        """The store has recorded this, and so knows what the host asked for."""
        outcome = attempted.outcome
        robots = outcome.evidence.robots
        if robots is not None and robots.url is not None and robots.crawl_delay_seconds:
            self._delays.setdefault(host_of(robots.url), (now, round(robots.crawl_delay_seconds * 1_000_000)))
        if outcome.not_before is not None and outcome.response is not None:
            pause = (now, _microseconds(outcome.not_before))
            self._pauses.setdefault(host_of(outcome.response.final_url), []).append(pause)

    def judge(self, made: Iterable[Made]) -> Verdict:
        """Look at everything that was made."""
        of_host = groupby(sorted(made, key=lambda one: (one.host, one.started, one.ended)), key=lambda one: one.host)
        gaps = crowds = intrusions = unknowing = in_transit = latest = 0
        for host, group in of_host:
            attempts = list(group)
            known_since, delay = self._delays.get(host, (0, 0))
            for known, number in self._gaps(attempts, known_since, delay):
                gaps, unknowing = gaps + number * known, unknowing + number * (not known)
            crowds += self._crowds(attempts)
            for since, until in self._pauses.get(host, ()):
                during = [one for one in attempts if since < one.started < until]
                intrusions += sum(one.dispatched >= since for one in during)
                out = [one.started - since for one in during if one.dispatched < since]
                in_transit, latest = in_transit + len(out), max([latest, *out])
        return Verdict(
            gaps=gaps,
            crowds=crowds,
            intrusions=intrusions,
            unknowing=unknowing,
            in_transit=in_transit,
            in_transit_latest_seconds=latest / 1_000_000,
        )

    @staticmethod
    def _gaps(attempts: Sequence[Made], known_since: int, delay: int) -> Iterable[tuple[bool, int]]:
        """For each attempt that came too early after any before it, whether the delay was known when it was given out."""
        if not delay:
            return
        last_end = attempts[0].ended
        for one in attempts[1:]:
            if one.started < last_end + delay:
                yield one.dispatched >= known_since, 1
            last_end = max(last_end, one.ended)

    def _crowds(self, attempts: Sequence[Made]) -> int:
        """How often one began while as many were under way as may be."""
        ends: list[int] = []
        crowds = 0
        for one in attempts:
            ends = [end for end in ends if end > one.started]
            crowds += len(ends) >= self._max_in_flight
            ends.append(one.ended)
        return crowds


def _microseconds(moment: datetime) -> int:
    return (moment - BEGINNING) // timedelta(microseconds=1)
