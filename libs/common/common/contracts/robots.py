"""A host's robots.txt as the store keeps it for all fetchers, and as they hand it in."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from common.contracts.envelope import Message

ROBOTS_LIMIT_BYTES = 500 * 1024
"""RFC 9309 section 2.5: what is beyond is not read."""

RobotsOrigin = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9._:\[\]-]{1,300}$")]
"""Scheme, name and port, as `http://host` or `http://host:port`: what a robots.txt speaks for (RFC 9309 section 2.3)."""


class RobotsAvailability(StrEnum):
    """How asking for a robots.txt ended (RFC 9309 section 2.3.1)."""

    FOUND = "found"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"


class RobotsFile(Message):
    """One origin's robots.txt, good until `expires_at`. `text` is empty unless it was found."""

    origin: RobotsOrigin
    availability: RobotsAvailability
    status: int | None = None
    text: str = Field(default="", max_length=ROBOTS_LIMIT_BYTES)
    fetched_at: AwareDatetime
    expires_at: AwareDatetime
