"""What a gateway that plans asks the store about many hosts at once, and what it is told."""

from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from common.contracts.envelope import Message
from common.contracts.hosts import HOST_LIMIT_CHARACTERS, HostState, PaceView
from common.contracts.robots import RobotsFile, RobotsOrigin
from common.contracts.views import Waiting

PLAN_LIMIT = 1000
"""Hosts, and origins, in one inquiry at most."""
PLAN_ROBOTS_LIMIT_BYTES = 512 * 1024
"""All robots.txt files in one answer together, so that one of the largest fits: a plan has a second at most to match them in."""

HostName = Annotated[str, StringConstraints(min_length=1, max_length=HOST_LIMIT_CHARACTERS)]


class PlanInquiry(Message):
    """Hosts and origins, each once, that a gateway wants to know about."""

    hosts: list[HostName] = Field(max_length=PLAN_LIMIT)
    origins: list[RobotsOrigin] = Field(max_length=PLAN_LIMIT)


class HostPlan(Message):
    """What an attempt on a host would meet now. `waiting` says what keeps the host closed, and is absent for a banned one.

    `opens_at` is when an attempt may start as far as rules tell, absent when that is now; attempts that are out may end any time.
    """

    host: str
    state: HostState = HostState.OPEN
    pace: PaceView
    waiting: Waiting | None = None
    opens_at: AwareDatetime | None = None


class PlanAnswer(Message):
    """Every host of an inquiry, also those that nobody asked for yet, and the files of those origins that have one.

    `robots_omitted` are origins whose file would have made the answer too large; the smallest files are in it.
    """

    hosts: list[HostPlan]
    robots: list[RobotsFile] = Field(default_factory=list)
    robots_omitted: list[RobotsOrigin] = Field(default_factory=list)
