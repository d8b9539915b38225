"""The public feed's stream as the store appends to it and gateways read it: an event, and beside it whose it is.

The tenant stands beside the event so that a reader leaves out what is not its caller's without reading it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from common.contracts.tenants import DEFAULT_TENANT
from common.streams.appender import Appender
from common.streams.names import EVENT_FIELD, TENANT_FIELD

PART_LIMIT = 2**64 - 1
PART_DIGITS = 20


class StreamId(NamedTuple):
    """The id of a stream entry; ids compare as their entries lie in the stream."""

    milliseconds: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id that a text is: `milliseconds-sequence`, or the milliseconds alone. Raises ValueError for anything else."""
        parts = text.split("-")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() and len(part) <= PART_DIGITS for part in parts):
            raise ValueError("a stream id is two numbers with a hyphen between them")
        milliseconds, sequence = int(parts[0]), int(parts[1]) if len(parts) == 2 else 0
        if max(milliseconds, sequence) > PART_LIMIT:
            raise ValueError("a part of a stream id has 64 bits")
        return cls(milliseconds, sequence)


BEGINNING = StreamId(0, 0)
"""Before the first entry of any stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRecord:
    """One entry of the feed: where it is, whose it is, and the event as it was written."""

    id: StreamId
    tenant: str
    event: bytes


async def append_to_feed(appender: Appender, events: Iterable[tuple[bytes, str]]) -> None:
    """Append events, each with its tenant, as `Appender.append` does."""
    await appender.append([{EVENT_FIELD: event, TENANT_FIELD: tenant.encode()} for event, tenant in events])


def read_records(reply: Iterable[tuple[bytes, dict[bytes, Any]]]) -> list[FeedRecord]:
    """The entries of a reply. Those without a tenant were written before there were tenants."""
    return [
        FeedRecord(
            id=StreamId.parse(identifier.decode()),
            tenant=fields[TENANT_FIELD].decode() if TENANT_FIELD in fields else DEFAULT_TENANT,
            event=fields.get(EVENT_FIELD, b""),
        )
        for identifier, fields in reply
    ]
