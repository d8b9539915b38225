"""What can go wrong between the gateway and what it stands on. Translated at `publish.py` and `store_client.py`.

GatewayError
├── EventsUnavailable    the events Redis did not take our promise, or cannot keep one
│   └── IngestBacklog    too many accepted fetches wait for the ledger: we are the bottleneck
└── StoreUnavailable     the store did not answer in time
"""


class GatewayError(Exception):
    """Anything the gateway itself reports."""


class EventsUnavailable(GatewayError):
    """The events Redis did not take our promise, or cannot keep one."""


class IngestBacklog(EventsUnavailable):
    """Too many accepted fetches wait for the ledger: we are the bottleneck, not the client."""


class StoreUnavailable(GatewayError):
    """The store did not answer in time."""
