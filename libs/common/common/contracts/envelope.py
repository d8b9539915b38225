"""The envelope around every event and command: CloudEvents 1.0 attribute names, JSON, versioned by its type."""

from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict

from common.ids import new_event_id

Data = TypeVar("Data", bound=BaseModel)


class Message(BaseModel):
    """Base of everything that crosses a service boundary: immutable, and blind to fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Envelope(Message, Generic[Data]):
    """One event or command (CloudEvents 1.0, context attributes). `source` and `id` together are unique."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: AwareDatetime
    traceparent: str | None = None
    data: Data

    @classmethod
    def wrap(
        cls, data: Data, *, type: str, source: str, subject: str, now: datetime, traceparent: str | None
    ) -> "Envelope[Data]":
        """Put `data` in a new envelope with a new id."""
        return cls(id=new_event_id(), source=source, type=type, subject=subject, time=now, traceparent=traceparent, data=data)


class EnvelopeHead(Message):
    """The attributes without the data: enough to choose a handler before the data is read."""

    id: str
    source: str
    type: str
    subject: str = ""
    traceparent: str | None = None
