"""Promise fetches on behalf of a caller: the one way from every route that accepts fetches to the events stream."""

from collections.abc import Sequence

from common.chassis.telemetry import current_traceparent
from common.contracts.fetches import AcceptedFetch

from gateway.dependencies import Means
from gateway.errors import IngestBacklog, QuotaExceeded
from gateway.metrics import Gate
from gateway.principal import Principal


async def promise(fetches: Sequence[AcceptedFetch], means: Means, principal: Principal) -> None:
    """Accept all of these or none; returns once they are on disk. Raises QuotaExceeded, IngestBacklog and EventsUnavailable.

    They are charged to the caller's key first, and stay charged when they cannot be accepted after that.
    """
    try:
        await means.quotas.charge_fetches(principal, len(fetches))
        await means.publisher.publish(fetches, traceparent=current_traceparent())
    except IngestBacklog:
        means.metrics.note_gate(Gate.INGESTING, is_closed=True)
        raise
    except QuotaExceeded as error:
        means.metrics.quota_refusals.labels(limit=error.limit).inc()
        raise
    means.metrics.note_gate(Gate.INGESTING, is_closed=False)
    means.metrics.accepted.inc(len(fetches))
