"""Where requests are that stream or wait: a bound for all of them, one for each caller, and no place of a request that works."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from gateway.metrics import Gate, GatewayMetrics
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType


class WaitingRoom:
    """A bounded number of places; `gate` names the room in metrics."""

    def __init__(self, gate: Gate, *, metrics: GatewayMetrics, limit: int, per_caller_limit: int) -> None:
        self._gate = gate
        self._metrics = metrics
        self._limit = limit
        self._per_caller_limit = per_caller_limit
        self._taken: Counter[str] = Counter()
        self._count = metrics.waiting.labels(room=gate)
        metrics.limits.labels(link=gate).set(limit)

    @contextmanager
    def place(self, request: Request, principal: Principal) -> Iterator[None]:
        """A place as long as the block lasts. Raises the problems overloaded and quota-exceeded when there is none."""
        is_full = self._taken.total() >= self._limit
        self._metrics.note_gate(self._gate, is_closed=is_full)
        if is_full:
            detail = "Too many requests of this kind are under way; send it again after `Retry-After` seconds."
            raise Problem(ProblemType.OVERLOADED, detail)
        caller = principal.actor
        if self._taken[caller] >= self._per_caller_limit:
            detail = f"This key has {self._per_caller_limit} requests of this kind under way, as many as it may have at once."
            raise Problem(ProblemType.QUOTA_EXCEEDED, detail)
        self._taken[caller] += 1
        try:
            with self._count.track_inprogress(), request.state.aside():
                yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]
