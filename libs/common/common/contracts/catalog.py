"""Every event and command there is, by its versioned type, with the model of its data.

A new optional field keeps the type; anything else is a new `vN+1`, and both are published until the old reader is gone.
"""

from collections.abc import Mapping
from typing import Final

from common.contracts.envelope import Message
from common.contracts.fetches import FetchAttempted, FetchesAccepted, FetchFinished, PerformFetches

FETCH_ACCEPTED: Final = "fetch.accepted.v1"
FETCH_ATTEMPTED: Final = "fetch.attempted.v1"
FETCH_FINISHED: Final = "fetch.finished.v1"
FETCH_PERFORM: Final = "fetch.perform.v1"

EVENTS: Mapping[str, type[Message]] = {
    FETCH_ACCEPTED: FetchesAccepted,
    FETCH_ATTEMPTED: FetchAttempted,
    FETCH_FINISHED: FetchFinished,
}
COMMANDS: Mapping[str, type[Message]] = {FETCH_PERFORM: PerformFetches}
