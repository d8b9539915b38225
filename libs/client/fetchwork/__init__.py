"""The SDK of Fetchwork: submit a fetch, wait for it, read what came back. The command line stands on it."""

from fetchwork._client import Client
from fetchwork._errors import (
    FetchNotFound,
    FetchworkError,
    GatewayUnreachable,
    NeverSent,
    NotAuthorized,
    ProblemError,
    WaitTimeout,
)
from fetchwork._models import Attempt, Fetch, FetchFailure, Links, Response, Waiting

__all__ = [
    "Attempt",
    "Client",
    "Fetch",
    "FetchFailure",
    "FetchNotFound",
    "FetchworkError",
    "GatewayUnreachable",
    "Links",
    "NeverSent",
    "NotAuthorized",
    "ProblemError",
    "Response",
    "WaitTimeout",
    "Waiting",
]
