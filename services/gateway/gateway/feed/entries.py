"""One entry of the feed in memory, what of it a client is sent, and which entries a client asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import structlog
from common.contracts.catalog import FETCH_FINISHED
from common.contracts.envelope import Message
from common.streams.feed import FeedRecord, StreamId
from fastapi.sse import format_sse_event
from pydantic import ValidationError

PAGE_BYTES = 32 * 1024
"""Events in one page at most, in bytes of theirs; one that is larger travels alone. A client that lags holds one page."""

log = structlog.get_logger()


class _Data(Message):
    batch_id: UUID | None = None
    labels: tuple[str, ...] = ()


class EventFacts(Message):
    """What must be known of an event to send it and to leave it out."""

    type: str
    subject: str = ""
    data: _Data = _Data()


class FeedEntry:
    """One entry. What it tells is read when first asked for, once for all clients of a ring."""

    def __init__(self, record: FeedRecord) -> None:
        self.id = record.id
        self.tenant = record.tenant
        self.event = record.event

    @cached_property
    def facts(self) -> EventFacts | None:
        """What the event is about; None when it cannot be read, and nobody is sent it."""
        try:
            return EventFacts.model_validate_json(self.event)
        except ValidationError:
            log.error("feed entry cannot be read", entry=str(self.id))
            return None

    @cached_property
    def frame(self) -> bytes:
        """The event as one of a stream, under its cursor; empty when it cannot be read."""
        return format_sse_event(data_str=self.event.decode(), event=self.facts.type, id=str(self.id)) if self.facts else b""

    @property
    def finished_fetch(self) -> str | None:
        """The id of the fetch that the event says has finished."""
        return self.facts.subject if self.facts and self.facts.type == FETCH_FINISHED else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which entries a client is sent: its tenant's and, where it says so, those of one batch or with one label."""

    tenant: str
    label: str | None = None
    batch_id: UUID | None = None

    def takes(self, entry: FeedEntry) -> bool:
        """Whether the client is sent the entry. Another tenant's is not even read."""
        if entry.tenant != self.tenant or entry.facts is None:
            return False
        data = entry.facts.data
        return self.label in (None, *data.labels) and self.batch_id in (None, data.batch_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The next entries of a client, and its cursor behind them: all up to there was sent, or is not for it.

    `gap` is the oldest entry that is kept where some behind the client's cursor are kept no more.
    """

    entries: list[FeedEntry]
    cursor: StreamId
    gap: StreamId | None = None


def select(entries: Iterable[FeedEntry], *, after: StreamId, selection: Selection, limit: int) -> Page:
    """The first of the entries that the selection takes, up to `limit` and to PAGE_BYTES."""
    taken, size_bytes, cursor = list[FeedEntry](), 0, after
    for entry in entries:
        if selection.takes(entry):
            size_bytes += len(entry.event)
            if taken and size_bytes > PAGE_BYTES:
                break
            taken.append(entry)
        cursor = entry.id
        if len(taken) == limit:
            break
    return Page(entries=taken, cursor=cursor)
