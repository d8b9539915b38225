"""The one way to ask for the time: aware datetimes in UTC, from a function that callers pass along."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, aware, in UTC. Constructed only at edges; below them `now` is an argument."""
    return datetime.now(UTC)
