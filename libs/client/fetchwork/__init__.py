"""The SDK of Fetchwork: submit fetches, wait for them, read what came back, follow the feed. The command line stands on it."""

from fetchwork._batch_models import Batch, BatchCounts, BatchError, BatchProgress
from fetchwork._client import Client
from fetchwork._errors import (
    BatchWaitTimeout,
    FetchworkError,
    GatewayUnreachable,
    NeverSent,
    NotAuthorized,
    NotFound,
    ProblemError,
    WaitTimeout,
)
from fetchwork._event_models import Event, EventPage
from fetchwork._fetch_options import FetchOptions
from fetchwork._key_models import Key, KeyLimits, NewKey
from fetchwork._models import Attempt, Egress, Fetch, FetchFailure, Links, PacePlan, PlanItem, Response, RobotsPlan, Waiting

__all__ = [
    "Attempt",
    "Batch",
    "BatchCounts",
    "BatchError",
    "BatchProgress",
    "BatchWaitTimeout",
    "Client",
    "Egress",
    "Event",
    "EventPage",
    "Fetch",
    "FetchFailure",
    "FetchOptions",
    "FetchworkError",
    "GatewayUnreachable",
    "Key",
    "KeyLimits",
    "Links",
    "NeverSent",
    "NewKey",
    "NotAuthorized",
    "NotFound",
    "PacePlan",
    "PlanItem",
    "ProblemError",
    "Response",
    "RobotsPlan",
    "WaitTimeout",
    "Waiting",
]
