"""Identifiers: UUID version 7 (RFC 9562 section 5.7), so that ids sort by the time they were made."""

from typing import NewType
from uuid import UUID

import uuid_utils
import uuid_utils.compat

FetchId = NewType("FetchId", UUID)


def new_fetch_id() -> FetchId:
    """A new fetch id; two made by one process within a millisecond still sort in the order they were made."""
    return FetchId(uuid_utils.compat.uuid7())


def new_event_id() -> str:
    """A new envelope id, unique together with the envelope's source (CloudEvents 1.0, `id`)."""
    return str(uuid_utils.uuid7())
