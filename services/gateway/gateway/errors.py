"""What can go wrong between the gateway and what it stands on. Translated at `publish.py`, `feed.py`, `tickets.py` and
`store_client.py`.

GatewayError
├── EventsUnavailable    the events Redis did not take our promise, or cannot keep one
│   └── IngestBacklog    too many accepted fetches wait for the ledger: we are the bottleneck
├── FeedUnavailable      the events Redis did not answer a reader of the feed
└── StoreUnavailable     the store did not answer in time
"""


class GatewayError(Exception):
    """Anything the gateway itself reports."""


class EventsUnavailable(GatewayError):
    """The events Redis did not take our promise, or cannot keep one."""


class IngestBacklog(EventsUnavailable):
    """Too many accepted fetches wait for the ledger: we are the bottleneck, not the client."""


class FeedUnavailable(GatewayError):
    """The events Redis did not answer a reader of the feed; nothing of the feed is lost by that."""


class StoreUnavailable(GatewayError):
    """The store did not answer in time."""
