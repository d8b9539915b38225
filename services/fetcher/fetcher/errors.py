"""Every exception of this service.

FetcherError
├── ExchangeFailed    a remote host or our own policy ended an exchange; `perform` turns it into an outcome
└── CommandRejected   a message that is not a command we know; `tasks` counts and drops it
"""

from enum import StrEnum

from common.contracts.fetches import ErrorType, FetchError


class FetcherError(Exception):
    """Base of all below."""


class ExchangeFailed(FetcherError):
    """Ends an exchange with the error that its caller will see. Never leaves `perform`."""

    def __init__(self, type: ErrorType, detail: str) -> None:
        super().__init__(type, detail)
        self.error = FetchError(type=type, detail=detail)


class RejectionReason(StrEnum):
    """Why a message is no command. The value is a metric label."""

    UNDECODABLE = "undecodable"
    UNKNOWN_TYPE = "unknown_type"


class CommandRejected(FetcherError):
    """A message that cannot be performed; the leases inside it end by themselves."""

    def __init__(self, reason: RejectionReason, error_class: str) -> None:
        super().__init__(reason, error_class)
        self.reason = reason
        self.error_class = error_class
