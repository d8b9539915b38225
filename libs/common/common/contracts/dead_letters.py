"""Messages that could not be applied, as operators see them."""

from pydantic import AwareDatetime, Field

from common.contracts.envelope import Message


class DeadLetterView(Message):
    """One parked message. `text` shows the beginning of it, with what is not UTF-8 replaced."""

    id: int
    stream: str
    entry_id: str
    reason: str
    created_at: AwareDatetime
    size_bytes: int = Field(description="Of the event and the body beside it.")
    text: str
    redriven_at: AwareDatetime | None = Field(default=None, description="When it was last put back into its stream.")


class DeadLetterPage(Message):
    """Parked messages, the newest first. `next_cursor` is absent on the last page."""

    items: list[DeadLetterView]
    next_cursor: str | None = None
