"""When to try again after a failure, and after how long. Knows nothing of HTTP clients: it is told what went wrong."""

import random
import time
from enum import Enum

from fetchwork._errors import FetchworkError, GatewayUnreachable, NeverSent, ProblemError

TRIES = 4
IN_FLIGHT_TRIES = 60
"""How often a call waits for an earlier one with its idempotency key: a second each time, longer than a dead one holds it."""
BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_LIMIT_SECONDS = 5.0
RETRY_AFTER_LIMIT_SECONDS = 60.0
"""A gateway that asks for more patience than a minute's quota needs is believed, and its refusal reported."""
OUTAGE_LIMIT_SECONDS = 60.0
BUSY = frozenset({429, 503})
"""With these the gateway promised nothing, so that a POST may be sent again, too."""
LOST = frozenset({502, 504})
"""With these a proxy says that it lost the gateway's answer."""
IN_FLIGHT = "/idempotency-key-in-flight"


class Repeat(Enum):
    """Which failures allow the same request to be sent again."""

    NEVER = "never"
    IF_UNSEEN = "if_unseen"
    ALWAYS = "always"


class Patience:
    """The tries of one call."""

    def __init__(self, repeat: Repeat) -> None:
        self._repeat = repeat
        self._failures = 0
        self._in_flight = 0

    def pause_seconds(self, error: FetchworkError) -> float | None:
        """How long to wait before another try, None when there should be none."""
        if self._repeat is Repeat.NEVER:
            return None
        if isinstance(error, ProblemError) and error.type.endswith(IN_FLIGHT):
            self._in_flight += 1
            return max(error.retry_after_seconds or 0.0, BACKOFF_FIRST_SECONDS) if self._in_flight < IN_FLIGHT_TRIES else None
        self._failures += 1
        if self._failures >= TRIES or not self._may_repeat(error):
            return None
        asked = error.retry_after_seconds or 0.0 if isinstance(error, ProblemError) else 0.0
        return (asked or backoff_seconds(self._failures)) if asked <= RETRY_AFTER_LIMIT_SECONDS else None

    def _may_repeat(self, error: FetchworkError) -> bool:
        if isinstance(error, NeverSent) or (isinstance(error, ProblemError) and error.status in BUSY):
            return True
        return self._repeat is Repeat.ALWAYS and is_passing(error)


class Outage:
    """A gateway that cannot be reached while something long is followed: borne for `limit_seconds` without one good answer."""

    def __init__(self, *, limit_seconds: float = OUTAGE_LIMIT_SECONDS) -> None:
        self._limit_seconds = limit_seconds
        self.end()

    def end(self) -> None:
        """There was a good answer."""
        self._began_at: float | None = None
        self._failures = 0

    def pause_seconds(self, error: FetchworkError) -> float:
        """How long to wait before looking again. Raises the error when it will not pass, or has not passed in time."""
        now = time.monotonic()
        self._began_at = now if self._began_at is None else self._began_at
        if not is_passing(error) or now - self._began_at >= self._limit_seconds:
            raise error
        self._failures += 1
        return backoff_seconds(self._failures)


def is_passing(error: FetchworkError) -> bool:
    """Whether the same request may fare better in a while."""
    return isinstance(error, GatewayUnreachable) or (isinstance(error, ProblemError) and error.status in BUSY | LOST)


def backoff_seconds(failures: int) -> float:
    """The pause after so many failures: doubling from BACKOFF_FIRST_SECONDS to BACKOFF_LIMIT_SECONDS, with jitter."""
    pause = min(BACKOFF_FIRST_SECONDS * 2.0 ** min(failures - 1, 10), BACKOFF_LIMIT_SECONDS)
    return pause * random.uniform(0.5, 1)  # nosec B311
