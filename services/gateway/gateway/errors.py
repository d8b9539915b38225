"""What can go wrong between the gateway and what it stands on. Translated at `publish.py`, `idempotency_records.py` and
`store_client.py`.

GatewayError
├── EventsUnavailable    the events Redis did not take our promise, or cannot keep one
│   ├── IngestBacklog    too many accepted fetches wait for the ledger: we are the bottleneck
│   └── RecordsFull      too many idempotency keys are remembered
├── QuotaExceeded        the API key has used up one of its limits
└── StoreUnavailable     the store did not answer in time
"""


class GatewayError(Exception):
    """Anything the gateway itself reports."""


class EventsUnavailable(GatewayError):
    """The events Redis did not take our promise, or cannot keep one."""


class IngestBacklog(EventsUnavailable):
    """Too many accepted fetches wait for the ledger: we are the bottleneck, not the client."""


class RecordsFull(EventsUnavailable):
    """Too many idempotency keys are remembered: a promise under another one could not be kept to one fetch."""


class QuotaExceeded(GatewayError):
    """The API key has used up one of its limits; it is worth trying again after `retry_after_seconds`."""

    def __init__(self, limit: str, retry_after_seconds: int) -> None:
        super().__init__(limit, retry_after_seconds)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class StoreUnavailable(GatewayError):
    """The store did not answer in time."""
