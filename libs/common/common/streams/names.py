"""Every Redis key that more than one service knows. Each carries its version, since keys outlive deploys."""

from typing import Final

# On the events Redis: durable, never evicted, never trimmed above an unacknowledged entry.
ACCEPTED_STREAM: Final = "fetchwork:v1:stream:fetch.accepted"
ATTEMPTED_STREAM: Final = "fetchwork:v1:stream:fetch.attempted"
FEED_STREAM: Final = "fetchwork:v1:stream:feed"

INGESTING_HASH: Final = "fetchwork:v1:ingesting"
"""Fetch id → stream entry id, for fetches accepted but not yet in the ledger. Written with the entry, removed with its
acknowledgement: its length bounds admission, and a reader finds here what Postgres does not know yet."""

KEY_ACCEPTED_HASH: Final = "fetchwork:v1:key-accepted"
"""Key id → fetches ever accepted with it. Counted with the entry; after a wipe the store raises it to the ledger's total."""
KEY_FINISHED_HASH: Final = "fetchwork:v1:key-finished"
"""Key id → fetches of that key ever finished. Set by the store from the ledger, a moment late: what is pending, the difference
of the two, is never counted too low, and a limit on it never exceeded."""

STORE_GROUP: Final = "store"

# Fields of a stream entry.
EVENT_FIELD: Final = b"event"
BODY_FIELD: Final = b"body"
TENANT_FIELD: Final = b"tenant"
"""Whose an entry of the feed is."""

TICKET_KEY_PREFIX: Final = "fetchwork:v1:ticket:"
"""SHA-256 of a ticket for the feed → who it was made for, with an expiry. Gateways share them."""
SESSION_KEY_PREFIX: Final = "fetchwork:v1:session:"
"""The same of a session of the status page."""

# On the broker Redis: may vanish at any time.
COMMAND_QUEUE: Final = "fetchwork.v1.perform"
BROKER_MARKER: Final = "fetchwork:v1:broker-marker"
"""Set by the dispatcher; when it is gone the broker was wiped, and with it the commands in it."""
WORKER_KEY_PREFIX: Final = "fetchwork:v1:worker:"
"""Worker id → slots, with a short expiry that the worker keeps renewing."""
TRAIN_WORKER_KEY_PREFIX: Final = "fetchwork:v1:train-worker:"
"""The same, from workers that know trains. The store sends trains only while all who announce slots know them."""
TAKEN_KEY_PREFIX: Final = "fetchwork:v1:taken:"
"""Id of a command's envelope → the worker that took it first, with an expiry behind its leases."""
SLOWDOWN_CHANNEL: Final = "fetchwork:v1:slowdowns"
"""Workers tell each other here that a host asked to be left alone, so that the trains of all of them stop. A hint that may be
lost: the store has it from the outcome."""
