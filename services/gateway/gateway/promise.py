"""Promise fetches on behalf of a caller: the one way from every route that accepts fetches to the events stream."""

from collections.abc import Sequence

from common.chassis.telemetry import current_traceparent
from common.contracts.fetches import AcceptedFetch

from gateway.dependencies import Means
from gateway.errors import IngestBacklog
from gateway.metrics import Gate


async def promise(fetches: Sequence[AcceptedFetch], means: Means) -> None:
    """Accept all of these or none; returns once they are on disk. Raises IngestBacklog and EventsUnavailable."""
    try:
        await means.publisher.publish(fetches, traceparent=current_traceparent())
    except IngestBacklog:
        means.metrics.note_gate(Gate.INGESTING, is_closed=True)
        raise
    means.metrics.note_gate(Gate.INGESTING, is_closed=False)
    means.metrics.accepted.inc(len(fetches))
