"""What the feed shows: events, pages of them, the form of a stream of them, and tickets."""

from typing import Any

from common.contracts.catalog import FETCH_FINISHED
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from gateway.examples import FETCH_ID

CURSOR = "1732471201250-0"
EVENT_EXAMPLE: dict[str, JsonValue] = {
    "specversion": "1.0",
    "id": "0b1f3c1e8f0d4c35b0c9a1f3f2f7e1a4",
    "source": "store",
    "type": FETCH_FINISHED,
    "subject": FETCH_ID,
    "time": "2026-12-24T18:00:01.25Z",
    "data": {
        "id": FETCH_ID,
        "url": "https://example.com/item/7",
        "status": "succeeded",
        "finished_at": "2026-12-24T18:00:01.25Z",
        "response_status": 200,
        "labels": ["shop", "run:42"],
    },
}
TICKET_EXAMPLE: JsonValue = {
    "ticket": "x" * 43, "url": f"/v1/events?ticket={'x' * 43}", "expires_at": "2026-12-24T19:00:00Z"
}
STREAM_ITEM: JsonValue = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The cursor behind the event."},
        "event": {"type": "string", "description": f"The event's type, such as `{FETCH_FINISHED}`; `gap` where some are lost."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventDocument"},
            "description": "The event. Of a `gap`: `oldest`, the oldest cursor that is still kept.",
        },
        "retry": {"type": "integer", "description": "Milliseconds until a client comes back."},
    },
}
"""One server-sent event. Members that it does not have are absent: a ping has an `id` alone."""
STREAM_EXAMPLE = f"""\
id: 0-0
retry: 3000

id: {CURSOR}
event: {FETCH_FINISHED}
data: {{"specversion":"1.0","type":"{FETCH_FINISHED}","subject":"{FETCH_ID}"}}

"""


class EventDocument(BaseModel):
    """One event (CloudEvents 1.0). `source` and `id` together are unique, also where it is told twice."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENT_EXAMPLE]})

    specversion: str
    id: str
    source: str
    type: str = Field(description=f"What happened, with a version: `{FETCH_FINISHED}`. Ignore those that you do not know.")
    subject: str = Field(description="The fetch that it happened to.")
    time: AwareDatetime
    traceparent: str | None = Field(default=None, description="The trace that it belongs to (W3C Trace Context).")
    data: dict[str, Any] = Field(description="What is to be told of this type of event.")


class EventPageDocument(BaseModel):
    """Some events in order, and the cursor behind them.

    `gap` is the oldest cursor that is still kept, where events behind the caller's cursor are kept no more.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [EVENT_EXAMPLE], "next_cursor": CURSOR, "gap": None}]}
    )

    items: list[EventDocument]
    next_cursor: str
    gap: str | None = None


class TicketDocument(BaseModel):
    """A ticket, where it opens the feed, and until when."""

    model_config = ConfigDict(json_schema_extra={"examples": [TICKET_EXAMPLE]})

    ticket: str
    url: str
    expires_at: AwareDatetime
