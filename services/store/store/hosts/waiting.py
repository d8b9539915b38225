"""What a due fetch waits for at its host. Pure."""

from datetime import datetime

from common.contracts.hosts import BreakerState, HostState
from common.contracts.views import Waiting, WaitingReason

from store.hosts.pace import Host, PaceSettings, breaker_state, free_lanes, override_in_force


def waiting_at(host: Host, settings: PaceSettings, *, now: datetime) -> Waiting | None:
    """What keeps the host closed, and until when where that is known; None when it is open.

    An attempt that is out may end at any time, so what waits for that knows no time.
    """
    override = override_in_force(host, now=now)
    if override is not None and override.state is not HostState.OPEN:
        return Waiting(reason=WaitingReason.HOST_PAUSED, until=override.until)
    breaker = breaker_state(host, now=now)
    if breaker is BreakerState.OPEN:
        return Waiting(reason=WaitingReason.BREAKER, until=host.broken_until)
    if host.paused_until is not None and host.paused_until > now:
        return Waiting(reason=WaitingReason.HOST_PAUSED, until=host.paused_until)
    if free_lanes(host, settings, now=now) > 0:
        return None
    if breaker is BreakerState.HALF_OPEN:
        return Waiting(reason=WaitingReason.BREAKER)
    is_full = not (host.next_slot_at is not None and host.next_slot_at > now)
    return Waiting(reason=WaitingReason.HOST_PACE, until=None if is_full else host.next_slot_at)
