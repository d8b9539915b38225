"""How long a loop rests after a pass that found work: when work comes fast it gathers into fewer, larger transactions."""

FIRST_SECONDS = 0.004
EACH_SECONDS = 0.001
LIMIT_SECONDS = 0.1
"""The longest rest, which is what a fetch may wait for others, twice: once to be dispatched and once to be recorded."""


def gather_seconds(found: int, *, limit: int) -> float:
    """A millisecond for each that was found. A pass that found as many as it may goes on at once: there is more.

    Above some hundreds a second the sets grow until they last as long as the rest between them; below, and when idle, nothing
    waits for company.
    """
    if found >= limit:
        return 0.0
    return min(max(FIRST_SECONDS, found * EACH_SECONDS), LIMIT_SECONDS)
