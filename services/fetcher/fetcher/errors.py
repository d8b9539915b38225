"""Every exception of this service.

FetcherError
├── ExchangeFailed    a remote host or our own policy ended an exchange; `perform` turns it into an outcome
├── AttemptSnoozed    an attempt ended before its first hop, for the host's pace; `perform` turns it into an outcome
├── CommandRejected   a message that is not a command we know; `tasks` counts and drops it
└── TakeUnknown       nobody could tell whether a message had been taken before; `tasks` counts and drops it
"""

from datetime import datetime
from enum import StrEnum

from common.contracts.fetches import Budget, ErrorType, FetchError


class FetcherError(Exception):
    """Base of all below."""


class ExchangeFailed(FetcherError):
    """Ends an exchange with the error that its caller will see. Never leaves `perform`.

    `exceeded` is the budget that ended it, if one did; `passes_at` is when its cause may have passed, where that is known.
    """

    def __init__(
        self, type: ErrorType, detail: str, exceeded: Budget | None = None, passes_at: datetime | None = None
    ) -> None:
        super().__init__(type, detail, exceeded, passes_at)
        self.error = FetchError(type=type, detail=detail)
        self.exceeded = exceeded
        self.passes_at = passes_at


class AttemptSnoozed(FetcherError):
    """Ends an attempt that may only start at `until`. Never leaves `perform`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


class RejectionReason(StrEnum):
    """Why a message is no command. The value is a metric label."""

    UNDECODABLE = "undecodable"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_TASK = "unknown_task"


class CommandRejected(FetcherError):
    """A message that cannot be performed; the leases inside it end by themselves."""

    def __init__(self, reason: RejectionReason, error_class: str) -> None:
        super().__init__(reason, error_class)
        self.reason = reason
        self.error_class = error_class


class TakeUnknown(FetcherError):
    """The broker did not say whether anybody took the message before; the leases inside it end by themselves."""
