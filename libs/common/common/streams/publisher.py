"""Append events to a stream, with an optional body beside each event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.contracts.envelope import Envelope
from common.streams.appender import Appender, Entry
from common.streams.names import BODY_FIELD, EVENT_FIELD


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One event to append, with the bytes that travel beside it (already compressed), if any."""

    event: Envelope[Any]
    body: bytes | None = None


async def publish(appender: Appender, publications: Sequence[Publication]) -> None:
    """Append all in order, as `Appender.append` does. Readers are idempotent by the ids inside, so publishing again is safe."""
    await appender.append([_entry(publication) for publication in publications])


def _entry(publication: Publication) -> Entry:
    event = publication.event.model_dump_json(exclude_none=True).encode()
    return {EVENT_FIELD: event} if publication.body is None else {EVENT_FIELD: event, BODY_FIELD: publication.body}
