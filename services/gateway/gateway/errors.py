"""What can go wrong between the gateway and what it stands on. Translated at `publish.py`, `quotas.py`, `idempotency_records.py`,
`feed.py`, `tickets.py` and `store_client.py`.

GatewayError
├── EventsUnavailable    the events Redis did not take our promise, or cannot keep one
│   ├── IngestBacklog    too many accepted fetches wait for the ledger: we are the bottleneck
│   └── RecordsFull      too many idempotency keys are remembered
├── FeedUnavailable      the events Redis did not answer a reader of the feed
├── QuotaExceeded        the caller's key may not ask for more right now
└── StoreUnavailable     the store did not answer in time
"""

from enum import StrEnum


class Limit(StrEnum):
    """What of a key is limited. The value names the policy in `RateLimit-Policy` and is a metric label."""

    REQUESTS = "requests"
    FETCHES = "fetches"
    QUEUED = "queued"


class GatewayError(Exception):
    """Anything the gateway itself reports."""


class EventsUnavailable(GatewayError):
    """The events Redis did not take our promise, or cannot keep one."""


class IngestBacklog(EventsUnavailable):
    """Too many accepted fetches wait for the ledger: we are the bottleneck, not the client."""


class RecordsFull(EventsUnavailable):
    """Too many idempotency keys are remembered: a promise under another one could not be kept to one fetch."""


class QuotaExceeded(GatewayError):
    """The key has used up one of its limits. `retry_after_seconds` is when what was asked for fits again, at the earliest."""

    def __init__(self, limit: Limit, retry_after_seconds: int, detail: str) -> None:
        super().__init__(limit, retry_after_seconds, detail)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds
        self.detail = detail


class FeedUnavailable(GatewayError):
    """The events Redis did not answer a reader of the feed; nothing of the feed is lost by that."""


class StoreUnavailable(GatewayError):
    """The store did not answer in time."""
